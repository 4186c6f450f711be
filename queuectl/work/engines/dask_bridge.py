"""Runs a worker's jobs on the workers of a Dask cluster: each attempt is a Dask task.

The slots of this queuectl worker are the threads of the Dask workers (and a few more while jobs are short, so that the
next is there when one ends). A task names the one Dask worker, and the very process, that may start it: which that is
is decided here, by the slots that are free, because only so is it known what became of an attempt when a worker is
gone. Dask's own retries do not apply, and each future is released when its job has been settled.

What a Dask worker says of an attempt comes as events, in order, by way of the scheduler (dask_worker.py says what). Its
output is appended to the job's log as it is, with the start and end lines that its shell has written there.

Before a task is sent, a note in the job's log says to which process. So when this worker dies, the next one on the same
scheduler finds what runs there and takes it over. An attempt that its process does not know has not begun, and does not
count; when that process is gone the outcome is unknown, and the attempt `lost`. When the scheduler is gone nothing is
known, and nothing is decided until there is one.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from queuectl import __version__
from queuectl.core.fields import Body
from queuectl.core.retry import OnLost
from queuectl.core.text import format_count, printable
from queuectl.errors import SpoolError
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import sent
from queuectl.work.attempts import output_limit_of, timeout_of
from queuectl.work.context import Context
from queuectl.work.engines import dask_worker
from queuectl.work.engines.dask_cluster import Cluster
from queuectl.work.engines.dask_orphans import Orphans, Taken
from queuectl.work.engines.dask_receiver import BEAT, Receiver
from queuectl.work.engines.dask_run import NEVER, AdoptedRun, Batch, DaskRun, Host, lost, variables_of
from queuectl.work.engines.engine import MOST, Crew, Engine
from queuectl.work.log_limit import LogLimit
from queuectl.work.places import Given
from queuectl.work.terms import Ask

_CHECK = 5.0  # seconds between questions to each Dask worker whether it is still the same process
_GATHERED = 0.03  # seconds for which those that would wait there anyway are gathered, to be sent together
_STUCK = 1.0  # seconds after which one that has not begun is sent elsewhere, if there is room
_LAST_CHANCE = 5.0  # seconds in which Dask workers may be found again by a scheduler that was away
_LAST_WORDS = 8.0  # seconds in which a Dask worker that has been retired ends its jobs, and says so
_LONGEST_CALL = 15.0  # seconds


class Bridge(Receiver, Engine):
    """The engine of one worker, on one Dask cluster."""

    def __init__(self, on: str, most: int = MOST) -> None:
        """`on` is the address of its scheduler, or the path of a scheduler file. `most` jobs run at a time.

        Raises SpoolError if there is none.
        """
        self.on = on
        self._most = most
        super().__init__(self._connect())
        self._hosts: dict[str, Host] = {}  # by address
        self._unusable: dict[str, str] = {}  # why, by address
        self._meeting: set[str] = set()
        self._leaving: list[tuple[float, Host]] = []  # those that are gone, and until when they may still say something
        self._queue: list[DaskRun] = []
        self._send_at = 0.0  # in monotonic seconds: when the queue is sent
        self._line: deque[object] = deque()  # those that wait for a place, in order
        self._is_closed = False
        self._must_look = False
        self._is_clear = False  # whether all Dask workers have said what they run
        self._room = (-1, 0, 0)

    def open(self, context: Context, worker: str, crew: Crew) -> None:
        """Begin to work for this worker."""
        self._context, self._worker, self._crew = context, worker, crew
        self._topic = f"queuectl {worker}"
        self._orphans = Orphans(context, worker, {*self.describe().values()})
        self._subscribe()
        with suppress(OSError, TimeoutError, RuntimeError):
            self._look()
        self._thread = threading.Thread(target=self._work, name="dask", daemon=True)
        self._thread.start()

    def _connect(self) -> Cluster:
        """A connection to its scheduler; raises SpoolError if there is none."""
        cluster = Cluster(self.on)
        self.address = cluster.address
        return cluster

    def close(self, *, leaves: bool = False) -> None:
        """Leave the cluster. What runs there continues."""
        with self._cond:
            self._is_closed = True
            self._cond.notify_all()
        self._thread.join(_LONGEST_CALL)
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # whatever Dask says, the worker ends
            self._forget_settled()
            self._cluster.close()

    def describe(self) -> dict[str, Any]:
        return {"on": self.on, "scheduler": self.address}

    # --- the cluster

    def _subscribe(self) -> None:
        self._cluster.subscribe(self._topic, self._hear)
        self._cluster.subscribe("all", self._hear_of_cluster)

    def _look(self) -> None:
        """Find out which Dask workers there are, now."""
        found = self._cluster.workers()
        with self._cond:
            for address, host in list(self._hosts.items()):
                if address not in found:
                    self._lose(host)
                else:
                    host.is_running = found[address].get("status", "running") == "running"
            self._settle_left()
            for address in self._unusable.keys() - found.keys():
                del self._unusable[address]
            new = found.keys() - self._hosts.keys() - self._meeting
            self._is_clear = found.keys() <= self._hosts.keys() | self._unusable.keys()
            self._meeting |= new
        for address in new:
            self._pool.submit(self._meet, address)
        for host in list(self._hosts.values()):
            if time.monotonic() > host.asked_at + _CHECK:
                host.asked_at = time.monotonic()
                self._pool.submit(self._check, host)
        self._set_room()

    def _meet(self, address: str) -> None:
        """Let a Dask worker run jobs."""
        try:
            info = self._cluster.run_on(address, dask_worker.install)
            if info is None or isinstance(info, OSError | TimeoutError):
                return
            problem = ""
            if isinstance(info, Exception):
                problem = f"cannot run jobs: {info}; to install it: pip install '.[dask]' in a clone of queuectl"
            elif info["version"] != __version__:
                problem = f"has queuectl {info['version']} and cannot run jobs of {__version__}; restart it with that"
            if problem:
                if self._unusable.get(address) != problem:
                    self._unusable[address] = problem
                    self._context.report.event("warning", None, f"the Dask worker {address} {problem}")
                return
            self._welcome(Host(address, info), info["host"])
        except (OSError, TimeoutError):
            pass  # it is looked at again
        finally:
            with self._cond:
                self._meeting.discard(address)
                self._must_look = True
                self._cond.notify_all()

    def _welcome(self, host: Host, name: str) -> None:
        self._take(host, [run for run in list(self._runs.values()) if run.host.id == host.id])
        with self._cond:
            self._hosts[host.address] = host
        self._pool.submit(self._end_disowned, host)
        slots = format_count(host.nthreads, "slot")
        self._context.report.event("joined", None, f"the Dask worker {host.address} on {name}, {slots}")

    def _take(self, host: Host, runs: Iterable[DaskRun]) -> None:
        """Hear of these attempts again from a process that has been found again."""
        mine = {run.token: run for run in runs if run.end is None}
        if not mine:
            return
        known = self._ask(host, "take", topic=self._topic, offsets={token: run.at for token, run in mine.items()})
        for token, run in mine.items():
            run.host = host
            host.used += run.width
            if not known.get(token):
                self._conclude(run, NEVER)

    def _check(self, host: Host) -> None:
        """Whether a Dask worker answers, and is still the same process."""
        try:
            is_same = str(self._ask(host, "describe")["id"]) == host.id
            over = {*self._ask(host, "over")} if is_same else set()
        except (OSError, TimeoutError):
            host.is_silent = True
            return
        host.is_silent = False
        if not is_same:
            with self._cond:
                self._lose(host)
        for run in list(self._runs.values()):  # its end was sent while no bridge had subscribed to hear of it
            if run.host is host and run.token in over & host.over and run.end is None:
                self._pool.submit(self._take_again, run)
        host.over = over

    def _lose(self, host: Host, *, is_expected: bool = False) -> None:
        """A Dask worker is gone, says the scheduler; needs the lock.

        One that leaves as it should is retired before it ends its jobs, and then says what became of them.
        """
        if host.is_gone:
            return
        host.is_gone = True
        if self._hosts.get(host.address) is host:
            del self._hosts[host.address]
        self._leaving.append((time.monotonic() + (_LAST_WORDS if is_expected else 0.0), host))
        self._settle_left()
        self._context.report.event("left", None, f"the Dask worker {host.address}")
        self._must_look = True
        self._cond.notify_all()

    def _settle_left(self) -> None:
        """Attempts are lost whose Dask worker is gone, and has nothing more to say; needs the lock."""
        over = [host for at, host in self._leaving if at <= time.monotonic()]
        self._leaving = [each for each in self._leaving if each[1] not in over]
        for run in [run for run in self._runs.values() if run.host in over]:
            self._conclude(run, lost(run.host.address))

    def _set_room(self) -> None:
        with self._cond:
            hosts = [host for host in self._hosts.values() if host.is_open]
            slots = sum(host.nthreads for host in hosts)
            # Of more slots than it may use, those that are sent ahead would run at once.
            number = sum(host.nthreads + host.ahead for host in hosts) if slots <= self._most else self._most
            room = min(number, MOST), self._widest(hosts), slots
        if room != self._room:
            self._room = room
            self._crew.resize(*room)

    def _widest(self, hosts: Sequence[Host]) -> int:
        """How many slots one job can have."""
        return max((host.nthreads for host in hosts), default=self._most)

    # --- starting an attempt, in a slot's thread

    def start(self, claim: Claim, given: Given | None = None) -> DaskRun:
        """Send it to a Dask worker that has room, as soon as there is one."""
        on_lost = claim.body.on_lost or self._context.settings_of(claim.name.id).on_lost
        ask = self.ask_of(claim.name.id, claim.body)
        me = object()
        with self._cond:
            self._line.append(me)
            try:
                while self._line[0] is not me or (host := self._choose(ask, may_wait=on_lost is OnLost.RETRY)) is None:
                    if self._is_closed or self._context.stopping:
                        raise OSError(errno.ECANCELED, "the worker stops")
                    if self.terms is not None and not self._has_host_for(ask):
                        raise OSError(errno.EAGAIN, "what would have run it has ended, or has no time left for it")
                    self._cond.wait(BEAT)
            finally:
                self._line.remove(me)
                self._cond.notify_all()
            cards = host.take(ask)
        run = DaskRun(self.end, claim, host, given)
        run.cards = cards
        try:
            sent.append(claim.log, claim.name, host.address, host.id)
        except OSError:
            self._free(run)
            raise
        with self._cond:
            self._runs[run.token] = run
            if host.is_gone:
                self._conclude(run, NEVER)
                return run
            send_at = time.monotonic() + (_GATHERED if host.is_full else 0.0)
            self._send_at = min(self._send_at, send_at) if self._queue else send_at
            self._queue.append(run)
            if len(self._queue) == 1 or not host.is_full:
                self._cond.notify_all()
        return run

    def _choose(self, ask: Ask, *, may_wait: bool) -> Host | None:
        """The Dask worker with the most room for a job; None if none has any; needs the lock."""
        best, most = None, 0
        for host in self._hosts_for(ask):
            room = host.nthreads + (host.ahead if may_wait else 0) - host.used - ask.slots + 1
            if room > most and len(host.free_cards) >= ask.cards:
                best, most = host, room
        return best

    def _hosts_for(self, ask: Ask) -> Iterator[Host]:
        """The Dask workers that take such a job, once they have room; needs the lock."""
        for host in self._hosts.values():
            has_all = ask.slots <= host.nthreads and ask.cards <= len(host.cards)
            if host.is_open and has_all and host.has_time_for(ask.timeout):
                yield host

    def _has_host_for(self, ask: Ask) -> bool:
        return any(self._hosts_for(ask))

    def _free(self, run: DaskRun) -> None:
        with self._cond:
            run.host.free(run)
            self._cond.notify_all()

    # --- the thread that sends, and looks

    def _work(self) -> None:
        next_look = time.monotonic() + BEAT
        while True:
            with self._cond:
                while not self._is_closed and not self._must_look:
                    until = min(next_look, self._send_at) if self._queue else next_look
                    if until <= time.monotonic():
                        break
                    self._cond.wait(until - time.monotonic())
                if self._is_closed:
                    return
                queue, self._queue = self._queue, []
                must_look, self._must_look = self._must_look, False
            try:
                self._send(queue)
                if must_look or time.monotonic() >= next_look:
                    next_look = time.monotonic() + BEAT
                    self._cluster.require()
                    self._look()
                    self._move_stuck()
                    self._forget_settled()
                    self._context.report.over("dask", f"the Dask scheduler {self.on} answers again")
            except (OSError, TimeoutError, RuntimeError) as error:
                self._reconnect(error)
            except Exception as error:  # of Dask's: it must not stop this thread, on which jobs wait
                self._context.report.once("dask error", "error", f"Dask: {type(error).__name__}: {error}")
                time.sleep(BEAT)

    def _send(self, queue: list[DaskRun]) -> None:
        """Submit these attempts, those that are alike together."""
        alike: dict[tuple[str, int, int], list[DaskRun]] = {}
        for run in queue:
            if run.end is None:
                alike.setdefault((run.host.address, run.width, run.name.priority), []).append(run)
        for (address, width, priority), runs in alike.items():
            number = min(len(runs), runs[0].host.nthreads)
            batches = [Batch(runs[n::number]) for n in range(number)]
            tasks = [[self._task_of(run) for run in batch.runs] for batch in batches]
            keys = [f"queuectl-{batch.runs[0].token}" for batch in batches]
            futures = self._cluster.submit(address, dask_worker.run, tasks, keys, width, priority)
            for batch, future in zip(batches, futures, strict=True):
                batch.future = future
                for run in batch.runs:
                    run.batch = batch

    def _task_of(self, run: DaskRun) -> Any:
        body, settings = run.claim.body, self._context.settings_of(run.name.id)
        return dask_worker.Task(
            run.host.id, self._topic, self._context.layout.root, run.name, body,
            variables_of(run), timeout_of(body, settings), settings.grace,
        )  # fmt: skip

    def ask_of(self, id: str, body: Body) -> Ask:
        return Ask(body.slots or 1, timeout_of(body, self._context.settings_of(id)))

    def _move_stuck(self) -> None:
        """Send those elsewhere that have not begun although there is room elsewhere."""
        now = time.monotonic()
        with self._cond:
            waiting = [run for run in self._runs.values() if not run.at and run.end is None and run.reason is None]
            for run in waiting:
                if run.sent_at + _STUCK > now or run.host.used <= run.host.nthreads or run.batch is None:
                    continue
                if self._choose(self.ask_of(run.name.id, run.claim.body), may_wait=False) is not None:
                    run.sent_at = now
                    self._pool.submit(self._move, run)

    def _move(self, run: DaskRun) -> None:
        """Take an attempt back that has not begun, and let its job be started again."""
        with suppress(OSError, TimeoutError):
            if self._ask(run.host, "stop", token=run.token, reason="release", grace=0.0) == "never":
                self._conclude(run, NEVER)

    def _forget_settled(self) -> None:
        for host in list(self._hosts.values()):
            if host.settled and not host.is_silent:
                tokens, host.settled = host.settled, []
                self._pool.submit(self._let_forget, host, tokens)

    def _let_forget(self, host: Host, tokens: list[str]) -> None:
        try:
            self._ask(host, "forget", tokens=tokens)
        except (OSError, TimeoutError):
            host.settled += tokens

    # --- a connection that is lost

    def _reconnect(self, error: Exception) -> None:
        """Connect again. What has been sent stays as it is until the Dask workers have said what became of it."""
        why = printable(f"{error}".partition("\n")[0])
        self._context.report.once(
            "dask", "warning", f"the Dask scheduler {self.on} does not answer: {why}; trying again"
        )
        with self._cond:
            self._hosts.clear()
            queue, self._queue = self._queue, []
        for run in queue:
            self._conclude(run, NEVER)
        self._set_room()
        with suppress(Exception):  # of a connection that is lost already
            self._cluster.close(patience=1)
        while not self._is_closed:
            if self._context.stopping == 2:
                self._leave_all()
            try:
                self._cluster = self._connect()
                self._subscribe()
                break
            except (SpoolError, OSError, TimeoutError, RuntimeError):
                time.sleep(BEAT)
        for run in list(self._runs.values()):
            run.batch = None
        self._settle_missing()

    def _settle_missing(self) -> None:
        """Attempts are lost that were sent to Dask workers which the scheduler does not find again."""
        deadline = time.monotonic() + _LAST_CHANCE
        missing = list(self._runs.values())
        while missing and not self._is_closed and (time.monotonic() < deadline or not self._is_clear):
            with suppress(OSError, TimeoutError, RuntimeError):
                self._look()
            if not self._cluster.is_connected:
                return  # this begins again
            present = {host.id for host in self._hosts.values()}
            missing = [run for run in self._runs.values() if run.host.id not in present]
            time.sleep(0.1)
        for run in missing:
            self._conclude(run, lost(run.host.address))

    def _leave_all(self) -> None:
        """The worker is to stop at once, and nobody can be asked to end what runs: the next worker takes over."""
        with self._cond:
            for run in list(self._runs.values()):
                self._conclude(run, {})

    # --- what is heard, in the client's thread

    def _hear_of_cluster(self, event: tuple[float, Any]) -> None:
        about = event[1]
        action = about.get("action") if isinstance(about, dict) else None
        if action not in ("add-worker", "remove-worker"):
            return
        with self._cond:
            host = self._hosts.get(str(about.get("worker")))
            if action == "remove-worker" and host is not None:
                self._lose(host, is_expected=bool(about.get("expected")))
            self._must_look = True
            self._cond.notify_all()

    def _hear_closing(self, id: str, started: set[str]) -> None:
        """A Dask worker is being stopped: what has not begun there will not."""
        with self._cond:
            for host in self._hosts.values():
                if host.id == id:
                    host.is_leaving = True
            for token, run in list(self._runs.items()):
                if run.host.id == id and token not in started:
                    self._conclude(run, NEVER)
            self._must_look = True
            self._cond.notify_all()

    # --- what runs although its worker is gone, in the worker's main thread

    def rescue(self) -> bool:
        orphans = self._orphans.find()
        if not orphans:
            return True
        if not self._is_clear or not self._cluster.is_connected:
            return False
        hosts = {host.id: host for host in list(self._hosts.values())}
        found = [self._orphans.look_into(name, hosts) for name in orphans]
        for taken in found:
            if isinstance(taken, Taken):
                self._take_over(taken, hosts[taken.process])
        return False not in found

    def _end_disowned(self, host: Host) -> None:
        """End what runs there of this spool although its job has left running/, as when it was cancelled without a
        bridge."""
        with suppress(OSError, TimeoutError):
            tokens = self._ask(host, "list", spool=self._context.layout.root)
            left = self._orphans.find_disowned(set(tokens) - self._runs.keys())
            over = []
            for token in left:
                grace = self._context.settings.grace
                if self._ask(host, "stop", token=token, reason="cancelled", grace=grace) == "over":
                    over.append(token)
            host.settled += over

    def _take_over(self, taken: Taken, host: Host) -> None:
        """Take charge of an attempt that another bridge had sent."""
        context, claim, now = self._context, taken.claim, time.monotonic()
        run = AdoptedRun(self.end, claim, host, at=max(0, os.fstat(claim.log).st_size - taken.output_at))
        run.token = taken.token
        run.cards = host.held.pop(run.token, [])
        most = output_limit_of(claim.body, context.settings_of(claim.name.id))
        if most is not None:
            run.limit = LogLimit(*most, taken.output_at, now, claim.log)
        with self._cond:
            self._runs[run.token] = run
            host.used += run.width
        self._crew.attend(run, now - max(0.0, (context.now() - claim.name.started_at).total_seconds()))
        text = f"attempt {claim.name.attempt} was left on {host.address} by a worker that is gone"
        context.report.event("adopted", claim.name.id, text, attempt=claim.name.attempt)
        self._pool.submit(self._take_again, run)

    def _take_again(self, run: DaskRun) -> None:
        """Hear of it from its Dask worker from now on."""
        while not run.is_over and not run.host.is_gone:
            with suppress(OSError, TimeoutError):
                if not self._ask(run.host, "take", topic=self._topic, offsets={run.token: run.at})[run.token]:
                    self._conclude(run, NEVER)
                return
            time.sleep(BEAT)
