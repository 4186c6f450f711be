"""Rescuing, checking and diagnosing: what repairs or verifies a spool."""
