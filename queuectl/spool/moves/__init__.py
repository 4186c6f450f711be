"""Every transition of a job, and the code that changes its bytes or deletes it."""
