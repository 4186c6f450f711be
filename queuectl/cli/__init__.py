"""The command line: each command parses, calls one method, prints."""
