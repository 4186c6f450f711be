"""The conformance kit: it hammers a producer or a worker that somebody else has written, and judges it rule by rule.

What it knows of the format it knows from spool/README.md: it shares no code with the rest of queuectl, so that a
mistake there cannot hide itself, and is imported by `queuectl conform` alone.
"""
