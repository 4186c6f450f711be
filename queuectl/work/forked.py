"""The last thing that a forked process calls, for whatever its parent was doing is not for it to finish."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def end_with(work: Callable[[], int]) -> NoReturn:
    """End this process with the exit code of that work; with 1, and a traceback, for whatever it raises."""
    code = 1
    try:
        code = work()
    except BaseException:  # there is nothing above it in this process
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
