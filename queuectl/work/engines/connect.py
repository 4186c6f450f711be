"""Which engine `worker start --on` means, and the connection to it. An engine is imported only when it is asked for."""

from __future__ import annotations

import os
import re

from queuectl.errors import SpoolError, UsageError
from queuectl.work.engines.engine import MOST, Engine


def parse_place(text: str) -> str:
    """The address of an engine, or the absolute path of the file that says it; raises UsageError."""
    if "://" in text:
        return text
    if re.fullmatch(r"[\w.-]+:\d+", text, re.ASCII):
        return f"tcp://{text}"
    if "/" in text or text.endswith(".json") or os.path.isfile(text):
        return os.path.abspath(text)
    raise UsageError(
        f"unknown engine: {text!r}", hint="give the address of a Dask scheduler, tcp://HOST:8786, or its file"
    )


def connect(on: str, most: int | None) -> Engine:
    """The engine at that place, for at most so many jobs at a time; raises SpoolError if there is none."""
    try:
        from queuectl.work.engines.dask_bridge import Bridge
    except ImportError as error:
        raise SpoolError(
            "Dask is not installed", f"{error}", "to install it: pip install '.[dask]' in a clone of queuectl"
        ) from error
    return Bridge(on, most or MOST)
