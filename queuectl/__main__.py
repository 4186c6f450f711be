"""`python -m queuectl`, which is what the installed command runs too."""

from __future__ import annotations

import os
import sys

from queuectl.cli.main import main


def run() -> None:
    """Run the command line and end the process at once: taking the interpreter apart would last some 10 ms."""
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int) and _is_written():
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
