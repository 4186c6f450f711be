"""The queue in a browser: a live page over one shared snapshot of the spool's names."""
