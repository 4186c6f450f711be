"""What a worker needs of an engine: start an attempt, await its end, end it, and find out what is alive.

`Executor` (executor.py) runs commands as processes of this machine. Another engine is another class of this interface,
in a module of its own: slots, limits, seats, retries, logs and reports are the same for all of them.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from queuectl.core.result import CANCELLED, Result
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import logs
from queuectl.work.attempts import ActiveAttempt
from queuectl.work.context import Context
from queuectl.work.places import Given
from queuectl.work.terms import Terms

MOST = 1000
"""How many jobs an engine runs at a time, for one worker."""


class LeftError(Exception):
    """What became of an attempt cannot be known now. It is left as it is, for the next worker."""


class Run(ActiveAttempt):
    """An attempt that an engine has started for a slot, whose thread waits for its end."""

    __slots__ = ("claim", "pid", "took", "usage")

    keeps_time: ClassVar[bool] = False
    """Whether the engine itself ends it when its time is up."""

    def __init__(self, claim: Claim, pid: int) -> None:
        """`pid` is that of its shell, where that runs; 0 while it is not known."""
        super().__init__(claim.name, claim.log)
        self.claim = claim
        self.pid = pid
        self.usage: logs.Usage | None = None  # once it has ended, if that is known
        self.took: float | None = None  # likewise; in seconds

    @abstractmethod
    def wait(self, grace: float = 0.0) -> Result:
        """Block until it has ended, and if it was stopped or killed all that it has left; how it ended.

        May raise LeftError.
        """


class Crew(Protocol):
    """The slots of a worker, as an engine sees them."""

    def say(self, **facts: Any) -> None:
        """Add this to what the worker's file says."""

    def resize(self, number: int, widest: int, real: int) -> None:
        """From now on there are `real` slots, of which a job may take `widest`, and `number` jobs may be claimed at a
        time."""

    def attend(self, run: Run, begun: float) -> None:
        """Await and settle an attempt that was taken over; it began at that monotonic second."""


class Engine(ABC):
    """Runs the attempts of one worker of one spool. Thread-safe.

    An attempt is ended by `stop` of its Run (see ActiveAttempt).
    """

    terms: Terms | None = None
    """None: a job may be claimed whenever there is a slot."""

    def open(self, context: Context, worker: str, crew: Crew) -> None:  # noqa: B027 - not every engine has to
        """Begin to work for that worker."""

    def close(self, *, leaves: bool = False) -> None:  # noqa: B027
        """The worker ends, or `leaves` what runs to the next one."""

    def describe(self) -> dict[str, Any]:
        """What the worker's file says of the engine: `on`, where it is, unless that is this machine."""
        return {}

    def settled(self, run: Run) -> None:  # noqa: B027
        """The job of an attempt has been settled: nothing more is asked about it."""

    @abstractmethod
    def start(self, claim: Claim, given: Given | None = None) -> Run:
        """Start the claim's command, with the seats that it was given; raises OSError if that is impossible."""

    def rescue(self) -> bool:
        """Take charge of what runs on this engine although its worker is gone; False if some are not clear yet.

        Attempts whose processes are on this machine are left to `Adopted`.
        """
        return True


def record_end(claim: Claim, pid: int, outcome: str, reason: str = "") -> None:
    """Write the end line unless the job's shell has; and the start line, if there is none.

    There is none after a syntax error in the command's first line, or if no shell could be started.
    """
    if logs.ends_with(claim.log, logs.format_end(claim.name, outcome) + "\n"):
        return
    attempt = logs.find_attempt(claim.log, claim.name)
    if attempt is not None and attempt.is_over and attempt.result and logs.format_outcome(attempt.result) == outcome:
        return
    size = os.fstat(claim.log).st_size - (attempt.output_at if attempt else claim.offset)
    if attempt is None:
        logs.append_start(claim.log, claim.name, pid)
    elif attempt.ending is not None and attempt.result is not None:
        outcome = logs.format_outcome(attempt.result)  # by what ended it, whatever its shell has said since
    logs.append_end(claim.log, claim.name, f"{outcome} bytes={max(0, size)}", reason)


def record_last_word(claim: Claim) -> None:
    """Put on record that an attempt is over whose job was cancelled, if its shell had a last word.

    By now nothing of it is left but what holds its lock without being one of its processes.
    """
    attempt = logs.find_attempt(claim.log, claim.name)
    if attempt is not None and not attempt.is_over:
        logs.append_end(claim.log, claim.name, logs.format_outcome(CANCELLED))
