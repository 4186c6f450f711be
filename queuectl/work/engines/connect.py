"""Which engine `worker start --on` means, and the connection to it. An engine is imported only when it is asked for."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from queuectl.core.groups import Choice
from queuectl.errors import SpoolError, UsageError
from queuectl.spool.system.layout import state_home_spool
from queuectl.work.engines.engine import MOST, Engine

SLURM = "slurm"


class BatchTerms(NamedTuple):
    """How batch jobs are started: at most `most` of them, of that time limit in seconds, each with these `options`; one
    that is idle is kept for so many seconds. `address`, `port` and `name` are empty or 0 for what is chosen here."""

    most: int
    seconds: float | None
    keep: float
    address: str
    port: int
    name: str
    options: tuple[str, ...]


def parse_place(text: str) -> str:
    """`slurm`, the address of an engine, or the absolute path of the file that says it; raises UsageError."""
    if text == SLURM or "://" in text:
        return text
    if re.fullmatch(r"[\w.-]+:\d+", text, re.ASCII):
        return f"tcp://{text}"
    if "/" in text or text.endswith(".json") or os.path.isfile(text):
        return os.path.abspath(text)
    raise UsageError(
        f"unknown engine: {text!r}", hint="give slurm, the address of a Dask scheduler, tcp://HOST:8786, or its file"
    )


def require_name(text: str) -> str:
    """The name of batch jobs, as it is; raises UsageError for what cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", text, re.ASCII):
        why = "a name has up to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit"
        raise UsageError(f"not a name of Slurm jobs: {text!r}", why)
    return text


def connect(on: str, count: int | None, batch: BatchTerms | None, choice: Choice, root: str) -> Engine:
    """The engine at that place, for a worker of that spool and choice; raises SpoolError if there is none.

    `count` is how many jobs run at a time, in each batch job if there are any.
    """
    try:
        if batch is not None:
            return _start_fleet(batch, count or 1, choice, root)
        from queuectl.work.engines.dask_bridge import Bridge
    except ImportError as error:
        raise SpoolError(
            "Dask is not installed", f"{error}", "to install it: pip install '.[dask]' in a clone of queuectl"
        ) from error
    return Bridge(on, count or MOST)


def _start_fleet(terms: BatchTerms, count: int, choice: Choice, root: str) -> Engine:
    from queuectl.work.engines.fleet import Fleet
    from queuectl.work.engines.own_scheduler import OwnScheduler
    from queuectl.work.engines.slurm import Slurm

    name = terms.name or _name_of(root, (*choice.only, "", *choice.others))
    batch = Slurm(name, count, terms.seconds, terms.options)
    directory = f"{os.path.dirname(state_home_spool())}/engines/{name}"
    scheduler = OwnScheduler(directory, terms.address, terms.port)
    return Fleet(batch, scheduler, choice, count, terms.most, terms.keep)


def _name_of(root: str, groups: Sequence[str]) -> str:
    """The same for each worker of these groups on this spool."""
    words = "\0".join((os.path.realpath(root), *groups))
    return f"queuectl-{hashlib.blake2s(words.encode('utf-8', 'surrogateescape'), digest_size=4).hexdigest()}"
