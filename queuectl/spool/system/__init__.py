"""What a spool needs of the operating system: files, names, locks, processes, events."""
