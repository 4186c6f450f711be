"""A job queue that is a directory: submit, look and act from Python.

from queuectl import Spool

job = Spool("spool").enqueue("echo hi", priority=1)
"""

from queuectl.core.job import Job
from queuectl.core.result import Result, State
from queuectl.errors import (
    AlreadyExistsError,
    AmbiguousIdError,
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
from queuectl.spool.store import Spool

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "AmbiguousIdError",
    "ConfigError",
    "DurabilityError",
    "InvalidJobError",
    "Job",
    "NotFoundError",
    "QueuectlError",
    "Result",
    "Spool",
    "SpoolError",
    "State",
    "UsageError",
    "WaitTimeoutError",
    "WrongStateError",
]
