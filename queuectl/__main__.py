"""`python -m queuectl`; the installed command runs this too."""

from __future__ import annotations

import gc
import os

_GARBAGE = 50_000
"""New objects after which Python looks for cycles: more than the imports make, which stay, instead of Python's 700."""


def run() -> None:
    """Run the command line and end the process at once: tearing down the interpreter would take some 10 ms."""
    from queuectl.cli import interrupts

    interrupts.end_at_once()
    gc.set_threshold(_GARBAGE)
    from queuectl.cli.main import main

    try:
        main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)


if __name__ == "__main__":
    run()
