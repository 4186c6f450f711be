"""What the operating system does for a spool: files, names, locks, processes, events."""
