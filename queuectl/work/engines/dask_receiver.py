"""What a bridge (dask_bridge.py) hears of attempts on a Dask cluster: their output, and how they ended.

Little output comes with the events; much is fetched, in threads. An attempt is concluded once all that it has written
is in its log.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from queuectl.work.context import Context
from queuectl.work.engines.dask_cluster import Cluster
from queuectl.work.engines.dask_run import NEVER, DaskRun, Host, failed_to_start
from queuectl.work.engines.engine import Run

BEAT = 1.0
"""Seconds between looks at the cluster, and until something that failed is tried again."""


class Receiver(ABC):
    """The attempts of one bridge that are under way. Thread-safe."""

    _context: Context

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._cond = threading.Condition()  # guards what a bridge knows
        self._runs: dict[str, DaskRun] = {}  # by token
        self._pool = ThreadPoolExecutor(8, "dask")

    def _ask(self, host: Host, what: str, **about: Any) -> Any:
        """Ask a Dask worker something; raises OSError or TimeoutError without an answer."""
        return self._cluster.ask(host.address, what, **about)

    # --- what is heard, in the client's thread

    def _hear(self, event: tuple[float, Any]) -> None:
        for about in event[1]["events"]:
            self._hear_one(about)

    def _hear_one(self, about: dict[str, Any]) -> None:
        kind = about["event"]
        if kind == "closing":
            self._hear_closing(about["worker"], set(about["started"]))
            return
        run = self._runs.get(about["token"])
        if run is None or run.is_over:
            return
        if kind == "more":
            self._fetch(run)
        elif kind == "output":
            if not run.deliver(about["at"], about["data"]):
                self._fetch(run)
        elif kind == "end":
            run.deliver(about["at"], about["data"])
            self._hear_end(run, about)

    def _hear_end(self, run: DaskRun, about: dict[str, Any]) -> None:
        end = failed_to_start(about) if "error" in about else about
        if end is NEVER:
            self._context.report.once("start", "error", f"{run.host.address} cannot start jobs: {about['error']}")
            run.host.closed_until = time.monotonic() + BEAT
        elif run.at < end["size"]:
            run.end = end
            self._fetch(run)
            return
        self._conclude(run, end)

    @abstractmethod
    def _hear_closing(self, id: str, started: set[str]) -> None:
        """A Dask worker process is being stopped, and has started these attempts alone."""

    # --- fetching

    def _fetch(self, run: DaskRun) -> None:
        """Fetch its output, in a thread, until there is no more for now."""
        with self._cond:
            run.must_fetch = True
            if run.is_fetching:
                return
            run.is_fetching = True
        self._pool.submit(self._fetch_all, run)

    def _fetch_all(self, run: DaskRun) -> None:
        while True:
            with self._cond:  # RACE: what is asked for from here on finds that nobody fetches
                if run.is_over or run.host.is_gone or not run.must_fetch:
                    run.is_fetching = False
                    return
                run.must_fetch = False
            try:
                self._fetch_some(run)
            except (OSError, TimeoutError):
                run.must_fetch = True
                time.sleep(BEAT)

    def _fetch_some(self, run: DaskRun) -> None:
        answer = self._ask(run.host, "read", token=run.token, at=run.at)
        if answer["is_known"]:
            run.deliver(run.at, answer["data"])
            run.must_fetch |= not answer["is_all"]
        end = run.end
        if end is not None:
            if run.at >= end["size"] or not answer["is_known"]:
                self._conclude(run, end)
            else:
                run.must_fetch = True

    def _conclude(self, run: DaskRun, end: dict[str, Any]) -> None:
        """What became of an attempt is known. One that had ended before its Dask worker went has ended so."""
        with self._cond:
            token = run.token
            if self._runs.get(token) is not run:
                return
            del self._runs[token]
            run.host.free(run)
            if "took" in end:
                run.host.learn(end["took"])
            self._cond.notify_all()
        run.conclude(end)

    def settled(self, run: Run) -> None:
        """Its job has been settled: the Dask worker may forget the attempt, and so may the scheduler."""
        assert isinstance(run, DaskRun)
        run.host.settled.append(run.token)
        batch = run.batch
        if batch is not None:
            with self._cond:
                batch.left -= 1
                future, batch.future = (batch.future, None) if not batch.left else (None, batch.future)
            if future is not None:
                with suppress(Exception):  # of a client that has been closed
                    future.release()

    # --- ending one, in a thread of its own

    def end(self, run: DaskRun, reason: str, grace: float) -> None:
        """Have its Dask worker end it, as soon as that can be asked; how it ended comes as for any other."""
        while not run.is_over:
            with suppress(OSError, TimeoutError):
                answer = self._ask(run.host, "stop", token=run.token, reason=reason, grace=grace)
                if answer == "never":
                    self._conclude(run, NEVER)
                if answer is not None:
                    return
            time.sleep(BEAT)
