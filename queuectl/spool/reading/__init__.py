"""Reading a spool: nothing here changes it."""
