"""The only code that touches the spool's files."""
