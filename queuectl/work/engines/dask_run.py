"""What a bridge (dask_bridge.py) keeps of each attempt on a Dask cluster, and of each Dask worker."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from queuectl.core.result import LOST, TIMEOUT, Result
from queuectl.core.seats import variable_of
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import limited, logs
from queuectl.work.engines.engine import LeftError, Run
from queuectl.work.places import Given
from queuectl.work.prelude import CANNOT_RUN
from queuectl.work.terms import Ask

_SHORT = 0.3  # seconds: while jobs take less, more are sent than there are threads
_MOST_AHEAD = 8  # so many for each thread
_ITS_FAULT = (errno.E2BIG, errno.EINVAL, errno.ENOEXEC)
LAST = 20.0
"""Seconds before the time of a Dask worker is up, at which it ends its jobs and gives them back."""
_TO_END = 5.0  # seconds that it may take to end a job when its timeout has passed
CARDS = "gpu"
"""The group whose seats are the cards of a Dask worker, if its batch job was given some."""
CARDS_VARIABLE = "CUDA_VISIBLE_DEVICES"
NEVER: dict[str, Any] = {"result": "lost", "reason": "release"}
"""How an attempt ended that has not begun, and will not."""


def lost(address: str) -> dict[str, Any]:
    """How an attempt ended whose Dask worker is gone."""
    return {"result": str(LOST), "note": f"the Dask worker {address} is gone"}


def failed_to_start(about: dict[str, Any]) -> dict[str, Any]:
    """How an attempt ended whose shell could not be started: the job's fault if it is too large, else the machine's."""
    if about["errno"] not in _ITS_FAULT:
        return NEVER
    return {"result": str(Result.exit(CANNOT_RUN)), "note": f"cannot be run: {about['error']}", "size": about["size"]}


class DaskRun(Run):
    """An attempt on a Dask worker, or on its way there. What comes of it is delivered by the Bridge's threads."""

    __slots__ = (
        "_done", "_end_it", "_ender", "at", "batch", "cards", "end", "given", "host", "is_fetching", "must_fetch",
        "note", "sent_at", "token", "width",
    )  # fmt: skip

    keeps_time: ClassVar[bool] = True

    def __init__(
        self,
        end_it: Callable[[DaskRun, str, float], None],
        claim: Claim,
        host: Host,
        given: Given | None = None,
        at: int = 0,
    ) -> None:
        """`end_it` has its Dask worker end it. `at` bytes of its output are in the log already."""
        super().__init__(claim, 0)
        self._end_it = end_it
        self.host = host
        self.given = given
        self.token = claim.token
        self.note = ""  # what its end line says in addition
        self.width = claim.body.slots or 1
        self.at = at
        self.cards: list[str] = []  # of its Dask worker, which are its own
        self.batch: Batch | None = None  # once it has been sent
        self.sent_at = time.monotonic()
        self.end: dict[str, Any] | None = None  # how it ended, once that is known
        self.is_fetching = self.must_fetch = False
        self._done = threading.Event()
        self._ender: threading.Thread | None = None

    def wait(self, grace: float = 0.0) -> Result:
        self._done.wait()
        self.mark_over()
        end = self.end
        assert end is not None
        if not end:
            raise LeftError
        if self.reason != "cancelled":  # its file has left running/, which has decided
            self.reason = end.get("reason")
        self.took, self.pid, self.note = end.get("took"), end.get("pid", 0), end.get("note", "")
        if self.reason == "release" and end.get("is_at_limit"):
            return self._end_at_limit()
        usage = end.get("usage", ())
        self.usage = logs.Usage(int(usage[0]), usage[1], usage[2]) if len(usage) == 3 else None
        return Result.parse(end["result"])

    def _end_at_limit(self) -> Result:
        """It was ended as the time of its Dask worker was up: for nothing the first time, then that is its timeout."""
        self.note = "the time limit of its Slurm job has ended it"
        with suppress(OSError):  # a full disk: once more for nothing
            if limited.find(self.log):
                self.reason = "timeout"
                return TIMEOUT
            limited.append(self.log, self.name)
        return LOST

    @property
    def remark(self) -> str:
        return self.note or super().remark

    def deliver(self, at: int, data: bytes) -> bool:
        """Append output that begins at this offset of all its output; False if some before that is missing."""
        with self._lock:  # so that the log is not closed in the meantime
            if self._is_over:
                return True
            if at > self.at:
                return False
            data = data[self.at - at :]
            self.at += len(data)
            with suppress(OSError):  # a full disk, as the job itself would see here
                while data:
                    data = data[os.write(self.log, data) :]
            return True

    def conclude(self, end: dict[str, Any]) -> None:
        """It is over, or will not begin."""
        if self.end is None:
            self.end = end
        self._done.set()

    @property
    def is_over(self) -> bool:
        return self._done.is_set()

    def _has_ended(self) -> bool:
        return self.end is not None

    def _in_thread(self, work: Callable[[], None]) -> None:
        self._ender = threading.Thread(target=work, name="end", daemon=True)
        self._ender.start()

    def _end(self, reason: str, grace: float) -> bool:
        self._end_it(self, reason, grace)
        return True


class AdoptedRun(DaskRun):
    """One that another worker had sent. No slot's thread waits for it, but it takes up a slot."""

    __slots__ = ()

    takes_slot = True

    @property
    def slots(self) -> int:  # type: ignore[override]
        return self.width


class Host:
    """A Dask worker process: its id, which no other has, and what runs there."""

    def __init__(self, address: str, info: dict[str, Any]) -> None:
        self.address = address
        self.id = str(info["id"])
        self.nthreads = int(info["nthreads"])
        self.is_running = True  # says the scheduler
        self.is_silent = False  # it has not answered lately
        self.is_leaving = False  # it is being stopped
        self.is_gone = False
        self.closed_until = 0.0  # in monotonic seconds: it has just failed to start one
        self.name = str(info.get("name", ""))
        left, whole = info.get("left"), info.get("whole")
        self.until = float("inf") if left is None else time.monotonic() + float(left)  # its time is up then
        self.whole = None if whole is None else float(whole)
        self.half_at = self.until - (self.whole or 0.0) / 2
        self.used = 0
        self.held: dict[str, list[str]] = info.get("held", {})  # cards of attempts that were there before, by token
        taken = {card for cards in self.held.values() for card in cards}
        self.cards: list[str] = info.get("cards", [])
        self.free_cards = [card for card in self.cards if card not in taken]
        self.usual = float("inf")  # seconds that its jobs have taken lately
        self.asked_at = time.monotonic()
        self.settled: list[str] = []  # attempts that it may forget
        self.over: set[str] = set()  # those that had ended when it was last asked

    @property
    def is_open(self) -> bool:
        """Whether it takes jobs."""
        is_here = self.is_running and not (self.is_silent or self.is_leaving or self.is_gone)
        return is_here and self.closed_until <= time.monotonic()

    def has_time_for(self, timeout: float | None) -> bool:
        """Whether it sees the end of a job with that timeout; of one without, whether half of its time is left."""
        if timeout is None:
            return time.monotonic() < self.half_at
        return timeout <= longest(self.until - time.monotonic())

    def take(self, ask: Ask) -> list[str]:
        """Slots for a job, and the cards that are its own."""
        self.used += ask.slots
        mine, self.free_cards = self.free_cards[: ask.cards], self.free_cards[ask.cards :]
        return mine

    def free(self, run: DaskRun) -> None:
        """What an attempt has taken."""
        self.used -= run.width
        self.free_cards += run.cards
        run.cards = []

    @property
    def ahead(self) -> int:
        """How many jobs it is sent in addition to those that it has threads for."""
        return self.nthreads * min(_MOST_AHEAD, int(_SHORT / max(self.usual, 0.001)))

    @property
    def is_full(self) -> bool:
        """Whether what is sent has to wait for a thread."""
        return self.used > self.nthreads

    def learn(self, took: float) -> None:
        self.usual = took if self.usual == float("inf") else 0.8 * self.usual + 0.2 * took


def longest(seconds: float) -> float:
    """The longest timeout of which a Dask worker that has so many seconds left sees the end."""
    return seconds - LAST - _TO_END


def variables_of(run: DaskRun) -> dict[str, str] | None:
    """The variables that say what seats and cards an attempt was given; None for none."""
    variables = dict(run.given.variables) if run.given is not None else {}
    if run.cards:
        named = ",".join(run.cards)
        variables.update({variable_of(CARDS): named, CARDS_VARIABLE: named})
    return variables or None


class Batch:
    """Attempts that were sent as one Dask task, which runs them one after the other: `left` are not settled yet."""

    def __init__(self, runs: list[DaskRun]) -> None:
        self.runs = runs
        self.left = len(runs)
        self.future: Any = None
