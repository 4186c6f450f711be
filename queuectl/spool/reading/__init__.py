"""Looking at a spool: nothing here changes it."""
