"""A job queue that is a directory: submit, query and manage jobs from Python.

from queuectl import Spool

job = Spool("spool").enqueue("echo hi", priority=1)
"""

from __future__ import annotations

TYPE_CHECKING = False  # what typing.TYPE_CHECKING is; to import it takes milliseconds
if TYPE_CHECKING:
    from typing import Any

    from queuectl.core.job import Job
    from queuectl.core.result import Result, State
    from queuectl.errors import (
        AlreadyExistsError,
        AmbiguousIdError,
        BrakedError,
        ConfigError,
        DurabilityError,
        InvalidJobError,
        NotFoundError,
        QueuectlError,
        SpoolError,
        UsageError,
        WaitTimeoutError,
        WrongStateError,
    )
    from queuectl.futures import JobFailedError, JobFuture, SpoolExecutor
    from queuectl.spool.keywords import JobBody, JobChanges, JobFields
    from queuectl.spool.reading.output import AttemptLog
    from queuectl.spool.store import Spool

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "AmbiguousIdError",
    "AttemptLog",
    "BrakedError",
    "ConfigError",
    "DurabilityError",
    "InvalidJobError",
    "Job",
    "JobBody",
    "JobChanges",
    "JobFailedError",
    "JobFields",
    "JobFuture",
    "NotFoundError",
    "QueuectlError",
    "Result",
    "Spool",
    "SpoolError",
    "SpoolExecutor",
    "State",
    "UsageError",
    "WaitTimeoutError",
    "WrongStateError",
]

_HOMES = {
    "AttemptLog": "spool.reading.output",
    "Job": "core.job",
    **dict.fromkeys(("JobBody", "JobChanges", "JobFields"), "spool.keywords"),
    **dict.fromkeys(("JobFailedError", "JobFuture", "SpoolExecutor"), "futures"),
    **dict.fromkeys(("Result", "State"), "core.result"),
    "Spool": "spool.store",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # which would take any name

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used: a command of a few milliseconds needs few of them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value
