"""`python -m queuectl`; the installed command runs this too."""

from __future__ import annotations

import gc
import os
import sys

_GARBAGE = 50_000
"""New objects after which Python looks for cycles: more than the imports make, which stay, instead of Python's 700."""


def run() -> None:
    """Run the command line and end the process at once: tearing down the interpreter would take some 10 ms."""
    gc.set_threshold(_GARBAGE)
    if os.getpid() == 1:
        _end_on_sigterm()
    from queuectl.cli.main import main

    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int) and (_is_written() or end.code):  # a failure was reported, and keeps its code
            os._exit(end.code)
        raise


def _end_on_sigterm() -> None:
    """Let SIGTERM end the first process of a container, which gets no signal that it has no handler for."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: os._exit(128 + caught))


def _is_written() -> bool:
    """Whether all output was written; if not, the interpreter reports it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    run()
