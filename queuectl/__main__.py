"""`python -m queuectl`, which is what the installed command runs too."""

from __future__ import annotations

import gc
import os
import sys

_GARBAGE = 50_000
"""New objects after which cycles are looked for: more than imports make, which stay, and not Python's 700."""


def run() -> None:
    """Run the command line and end the process at once: taking the interpreter apart would last some 10 ms."""
    gc.set_threshold(_GARBAGE)
    from queuectl.cli.main import main

    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int) and (_is_written() or end.code):  # a failure has been told, and keeps its code
            os._exit(end.code)
        raise


def _is_written() -> bool:
    """Whether all output has gone to where it should; what has not is for the interpreter to complain of."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    run()
