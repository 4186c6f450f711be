"""Ctrl-C at any moment: one line on stderr, exit code 130, and no traceback.

While a command runs it raises KeyboardInterrupt, so that what is under way is cleaned up; before and after that the
process just ends, since an exception could come anywhere: in an import, say.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the module signal takes a millisecond to import
import os
import sys

CODE = 130


def end_at_once() -> None:
    """From now on Ctrl-C ends the process, unless it is ignored (nohup, or a shell's background job)."""
    if _signal.getsignal(_signal.SIGINT) != _signal.SIG_IGN:
        _signal.signal(_signal.SIGINT, _on_signal)
    sys.unraisablehook = _on_unraisable


def raise_exception() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, if it ended the process so far."""
    if _signal.getsignal(_signal.SIGINT) is _on_signal:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def report() -> None:
    """The one line; on a terminal below its ^C."""
    try:
        os.write(2, b"\nqueuectl: interrupted\n" if os.isatty(2) else b"queuectl: interrupted\n")
    except OSError:  # nobody reads it
        return


def _on_signal(number: int, frame: object) -> None:
    report()
    os._exit(CODE)


def _on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """An interrupt in a destructor or a callback of Python's own would be printed there, and forgotten."""
    if unraisable.exc_type is KeyboardInterrupt:
        _on_signal(_signal.SIGINT, None)
    sys.__unraisablehook__(unraisable)
