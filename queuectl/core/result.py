"""The four states of a job, and how an attempt can end."""

from __future__ import annotations

import re
from enum import StrEnum

from queuectl.tuples import NamedTuple


class State(StrEnum):
    """A state is a directory of the spool; a job is in the state whose directory holds its file."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"


RESULT_PATTERN = r"exit(?:0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])|signal[1-9]\d?|timeout|lost|cancelled|invalid|skipped"
"""What `str` of a result looks like."""


class Result(NamedTuple):
    """How an attempt ended: `exitN`, `signalN`, `timeout`, `lost`, `cancelled`, `invalid` or `skipped`.

    `lost` means that the worker or the machine went away and the outcome is unknown, `skipped` that it was not to be
    started: what it waited for did not come about, or another job has its key.
    """

    kind: str
    code: int | None = None

    @classmethod
    def exit(cls, code: int) -> Result:
        """The command's shell or program exited with `code`, 0 to 255."""
        return cls("exit", code)

    @classmethod
    def signal(cls, number: int) -> Result:
        """The command died of this signal."""
        return cls("signal", number)

    @classmethod
    def parse(cls, text: str) -> Result:
        """Inverse of `str`; raises ValueError for anything else."""
        if not re.fullmatch(RESULT_PATTERN, text, re.ASCII):
            raise ValueError(f"not a result: {text!r}")
        kind = text.rstrip("0123456789")
        return cls(kind, int(text[len(kind) :]) if kind != text else None)

    @property
    def is_success(self) -> bool:
        return self == SUCCESS

    @property
    def is_failure(self) -> bool:
        """Whether the job has failed: a job that was cancelled, refused or skipped has not."""
        return self.kind in ("exit", "signal", "timeout", "lost") and self != SUCCESS

    @property
    def is_skipped(self) -> bool:
        return self == SKIPPED

    def __str__(self) -> str:
        return self.kind if self.code is None else f"{self.kind}{self.code}"


SUCCESS = Result("exit", 0)
TIMEOUT = Result("timeout")
LOST = Result("lost")
CANCELLED = Result("cancelled")
INVALID = Result("invalid")
SKIPPED = Result("skipped")
