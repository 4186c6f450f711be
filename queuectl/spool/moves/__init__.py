"""Every transition of a job, and what changes its bytes or deletes it."""
