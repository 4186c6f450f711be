"""The only code that starts processes: executor, schedule, worker."""
