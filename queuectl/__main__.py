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
    if os.getpid() == 1:
        _end_on_sigterm()
    if "_QUEUECTL_COMPLETE" in os.environ:
        from queuectl.cli import id_completion

        if id_completion.answer():
            os._exit(0)
    from queuectl.cli.main import main

    try:
        main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)


def _end_on_sigterm() -> None:
    """Let SIGTERM end the first process of a container, which gets no signal that it has no handler for."""
    import signal

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: os._exit(128 + caught))


if __name__ == "__main__":
    run()
