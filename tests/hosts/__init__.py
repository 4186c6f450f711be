"""One spool shared by several hosts: namespaces on this machine, each on a mount of its own of GlusterFS."""
