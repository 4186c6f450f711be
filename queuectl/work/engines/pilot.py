"""A Dask worker as a job of a batch system: what the batch script runs on a node.

It knows when its time is up. Being asked to end, and warned of its time limit, are a SIGTERM to this process alone:
it takes no more jobs, lets those finish that it has, and ends; what has not finished shortly before the time limit is
ended and given back. If the SIGTERM has reached the process beside it too (reaper.py), then the batch system is ending
everything here, and the jobs with it: they are given back at once.

It ends by itself when it runs nothing and no worker of queuectl has been heard of for a while; for a long while if it
knows how jobs have ended that the next one would ask for.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from distributed import Worker

from queuectl.core.seats import variable_of
from queuectl.work.engines import slurm
from queuectl.work.engines.dask_run import CARDS, CARDS_VARIABLE, LAST
from queuectl.work.engines.dask_worker import NAME, Host
from queuectl.work.engines.own_scheduler import security_of

_ALONE, _KEEP = 300.0, 3600.0  # seconds without a word from a bridge; and while it has results for the next one
_JOIN = 60.0  # seconds for which it looks for its scheduler
_BEAT = 0.5
_ASK = 5.0  # seconds for an answer about the time limit
_WITNESS = 2.0  # seconds within which the reaper says that it was signalled
_LAST_WORDS = 0.2  # seconds until what was said has been sent


def name_of(id: str) -> str:
    """That of the Dask worker in the job of that id."""
    return f"slurm-{id}"


class Pilot(Host):
    """Runs jobs on one Dask worker that has so many seconds left."""

    def __init__(self, left: float | None, cards: int) -> None:
        """`cards` is how many were asked for: they are numbered if the batch system does not name them."""
        super().__init__()
        self._whole = left
        self._until = None if left is None else time.monotonic() + left
        named = os.environ.get(CARDS_VARIABLE, "")
        has_named = named and named != "NoDevFiles" and cards
        self._cards = named.split(",") if has_named else [str(number) for number in range(cards)]
        self._is_draining = self._is_ending = False
        self._heard_at = time.monotonic()
        self.over = asyncio.Event()

    async def setup(self, worker: Worker) -> None:
        await super().setup(worker)
        self._watcher = asyncio.create_task(self._watch())

    async def _announce(self, worker: Worker) -> None:
        """It is there before the scheduler hears of its worker, which is made with its slots."""

    async def teardown(self, worker: Worker) -> None:
        self._watcher.cancel()
        await super().teardown(worker)

    def describe(self) -> dict[str, Any]:
        left = None if self._until is None else self._until - time.monotonic()
        return {**super().describe(), "left": left, "whole": self._whole, "cards": self._cards, "held": self._held()}

    def _held(self) -> dict[str, list[str]]:
        """The cards of each attempt that a bridge has not settled."""
        variable = variable_of(CARDS)
        with self._lock:
            given = {token: attempt.task.variables or {} for token, attempt in self._attempts.items()}
        return {token: said[variable].split(",") for token, said in given.items() if variable in said}

    def on_describe(self) -> dict[str, Any]:
        self._heard_at = time.monotonic()
        return super().on_describe()

    # --- being ended

    def _catch_sigterm(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._drain)

    def _drain(self) -> None:
        """Take no more, and end once what runs has. Again: nothing, for the time limit warns after a request."""
        self._is_draining = True
        with self._lock:
            self._is_closing = True
        self._say_closing()

    def _start_reaper(self) -> None:
        """The reaper says that it was signalled, too."""
        self._signalled, its_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._launch_reaper(((1, its_end),), "witness")
        finally:
            os.close(its_end)
        asyncio.get_running_loop().add_reader(self._signalled, self._hear_witness, self._signalled)

    def _hear_witness(self, descriptor: int) -> None:
        said = b""
        with suppress(BlockingIOError):
            said = os.read(descriptor, 64)
        if not said:  # it has been killed, and is started again
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        elif not self._is_ending:
            self._is_ending = True
            self._task = asyncio.create_task(self._end())

    async def _end(self, *, is_at_limit: bool = False) -> None:
        await self._end_all(is_at_limit=is_at_limit)
        self.over.set()

    def _is_being_stopped(self) -> bool:
        """Draining ends no job, so a SIGTERM of its own is its own."""
        deadline = time.monotonic() + _WITNESS
        while not self._is_ending and time.monotonic() < deadline:
            time.sleep(0.05)
        return self._is_ending

    async def _watch(self) -> None:
        while not self._is_ending:
            await asyncio.sleep(_BEAT)
            with self._lock:
                unsettled = list(self._attempts.values())
                live = [attempt for attempt in unsettled if attempt.end is None]
            now = time.monotonic()
            if self._until is not None and now >= self._until - LAST:
                self._is_ending = True
                await self._end(is_at_limit=True)
            elif not live and (self._is_draining or now >= self._heard_at + (_KEEP if unsettled else _ALONE)):
                self._is_ending = True
                await self._end()


async def _run(about: dict[str, Any], id: str) -> None:
    asked = await asyncio.to_thread(slurm.seconds_left, id, _ASK)
    left = about["seconds"] if asked is None else asked
    pilot = Pilot(left, about["cards"])
    worker = Worker(
        about["address"], nthreads=about["count"], name=name_of(id), memory_limit=0, dashboard=False,
        death_timeout=_JOIN, security=security_of(about["keys"]), protocol="tls",
        plugins=(pilot,), resources={NAME: about["count"]},
    )  # fmt: skip
    async with worker:
        is_over = asyncio.create_task(pilot.over.wait())
        is_finished = asyncio.create_task(worker.finished())  # type: ignore[no-untyped-call]
        await asyncio.wait((is_over, is_finished), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(_LAST_WORDS)


def script(about: dict[str, Any]) -> str:
    """The batch script that runs it: what it is to know comes on its stdin, where no other user sees it."""
    return f"""#!/bin/sh
exec {shlex.quote(sys.executable)} -m queuectl.work.engines.pilot <<'END'
{json.dumps(about)}
END
"""


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.stdin.readline()), os.environ.get("SLURM_JOB_ID", "0")))
