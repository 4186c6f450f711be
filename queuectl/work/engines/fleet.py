"""A bridge that starts its Dask workers itself, as jobs of a batch system: as many as the backlog could use.

Dask says which of them work; the batch system says which are queued, running or over (slurm.py). Neither is needed for
long: a batch system that does not answer stops nothing, and a worker that is started again after this one was killed
finds the scheduler (own_scheduler.py) by its directory, and the batch jobs by their name.

A batch job is submitted when jobs are ready that none of those that are there or on their way has a slot for. One that
has not been needed for a while is stopped, the queued ones sooner. One whose time is nearly up takes only jobs of which
it sees the end (`Host.has_time_for`), and none of which the batch system says that it is over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from queuectl.core import groups
from queuectl.core.fields import Body
from queuectl.core.groups import Choice
from queuectl.core.names import format_rfc3339
from queuectl.core.text import format_count, format_seconds
from queuectl.work.context import Context
from queuectl.work.engines import pilot
from queuectl.work.engines.dask_bridge import Bridge
from queuectl.work.engines.dask_cluster import Cluster
from queuectl.work.engines.dask_run import CARDS, Host, longest
from queuectl.work.engines.demand import Demand
from queuectl.work.engines.engine import MOST, Crew
from queuectl.work.engines.own_scheduler import OwnScheduler
from queuectl.work.engines.slurm import BatchError, BatchJob, Slurm
from queuectl.work.terms import Ask

_BEAT = 1.0  # seconds between looks at the backlog
_LOOK_SOON, _LOOK = 5.0, 30.0  # seconds between questions to the batch system: while it is to do something, and else
_UNHEARD = 15.0  # seconds after its submit for which a batch job may be missing in what is listed
_STEADY = 3.0  # seconds for which more must be needed before there are more, if there are some
_SURPLUS = 10.0  # seconds after which one that has not begun is cancelled if it is not needed
_TRY_AGAIN, _LONGEST_PAUSE = 10.0, 600.0  # seconds until another is submitted after one that came to nothing
_STOP_AGAIN = 30.0
_LEAVE = 15.0  # seconds in which those that were asked to end do


class Member:
    """One batch job of the fleet."""

    def __init__(self, id: str, state: str) -> None:
        self.id = id
        self.state = state
        self.word = ""
        self.node = ""
        self.until: float | None = None  # its time is up then, says the batch system; in monotonic seconds
        self.submitted_at = self.needed_at = time.monotonic()
        self.stopped_at: float | None = None
        self.host: Host | None = None  # while its Dask worker is there
        self.has_joined = False

    @property
    def shown(self) -> str:
        """Its state, as `worker list` says it."""
        is_leaving = self.host.is_leaving if self.host is not None else self.has_joined
        if is_leaving or self.stopped_at is not None or self.state in ("ending", "ended"):
            return "stopping"
        if self.host is not None:
            return "running"
        return "queued" if self.state == "queued" else "starting"

    @property
    def is_coming(self) -> bool:
        """Whether its slots are to be expected."""
        return self.shown in ("queued", "starting")


class Fleet(Bridge):
    """The engine of one worker on a batch system."""

    def __init__(
        self, batch: Slurm, scheduler: OwnScheduler, choice: Choice, count: int, most: int, keep: float
    ) -> None:
        """At most `most` batch jobs of `count` slots; one that is idle is kept for `keep` seconds.

        Raises SpoolError if the Dask scheduler cannot be started.
        """
        self._batch, self._scheduler = batch, scheduler
        self._choice = choice
        self._count, self._fleet_most, self._keep = count, most, keep
        self._members: dict[str, Member] = {}  # by id
        self._whole = batch.seconds  # the time limit, once that is known
        self._look_at = self._submit_at = float("-inf")
        self._short_since: float | None = None
        self._failures = 0
        self._shown: list[dict[str, Any]] = []
        self._stop = threading.Event()
        super().__init__(f"slurm:{batch.name}", min(MOST, most * count))
        self.own_seats = frozenset({CARDS} if batch.cards else ())
        self.terms = self

    def _connect(self) -> Cluster:
        self.address, security = self._scheduler.ensure()
        return Cluster(self.address, security)

    def describe(self) -> dict[str, Any]:
        return {"on": self.on}

    def open(self, context: Context, worker: str, crew: Crew) -> None:
        self._demand = Demand(context, self._choice, self)
        super().open(context, worker, crew)
        limit = None if self._whole is None else longest(self._whole)
        crew.say(most=self._most, longest=limit, batch="Slurm")
        self._fleet_thread = threading.Thread(target=self._keep_fleet, name="fleet", daemon=True)
        self._fleet_thread.start()

    def close(self, *, leaves: bool = False) -> None:
        self._stop.set()
        self._fleet_thread.join()
        super().close(leaves=leaves)
        live = [member for member in self._members.values() if member.state != "ended"]
        if leaves:
            left = f"{format_count(len(live), 'Slurm job')} left to the next worker; to stop them: {self._to_stop}"
            self._say(left if live else "")
        else:
            self._dismiss(live)
            self._scheduler.stop()
        self._scheduler.close()

    @property
    def _to_stop(self) -> str:
        return f"scancel -b -s TERM --name {self._batch.name}"

    def _say(self, text: str) -> None:
        if text:
            self._context.report.event("fleet", None, text)

    # --- which jobs it takes

    def has_place_for(self, ask: Ask) -> bool:
        with self._cond:
            return any(
                host.nthreads + host.ahead - host.used >= ask.slots and len(host.free_cards) >= ask.cards
                for host in self._hosts_for(ask)
            )

    def ask_of(self, id: str, body: Body) -> Ask:
        ask = super().ask_of(id, body)
        if not self._batch.cards:
            return ask
        return ask._replace(cards=(body.seats or {}).get(CARDS, 1 if CARDS in groups.of(id) else 0))

    def why_never(self, ask: Ask) -> str:
        if ask.slots > self._count:
            return f"as it asks for {ask.slots} slots, and a Slurm job has {self._count}"
        if ask.cards > self._batch.cards:
            return f"as it asks for {ask.cards} cards, and a Slurm job has {self._batch.cards}"
        if ask.timeout is not None and self._whole is not None and ask.timeout > longest(self._whole):
            limit, most = format_seconds(self._whole), format_seconds(max(0.0, longest(self._whole)))
            return f"as a Slurm job of {limit} sees the end of a timeout of {most} at most"
        return ""

    def _widest(self, hosts: Sequence[Host]) -> int:
        return self._count

    # --- the thread that keeps the fleet

    def _keep_fleet(self) -> None:
        while not self._stop.is_set():
            try:
                self._meet_members()
                if time.monotonic() >= self._look_at:
                    self._look_at_batch()
                self._scale()
                self._show()
                self._context.report.over("fleet", "the backlog can be looked at again")
            except BatchError as error:
                self._context.report.once("batch", "warning", f"Slurm: {error}; trying again")
                self._look_at = self._submit_at = time.monotonic() + _TRY_AGAIN
            except Exception as error:  # whatever it is, this thread must not end, or nothing would start any more
                what = f"cannot look at the backlog: {type(error).__name__}: {error}; trying again"
                self._context.report.once("fleet", "warning", what)
            self._stop.wait(_BEAT)

    def _meet_members(self) -> None:
        """Find out which of them Dask has."""
        with self._cond:
            hosts = {host.name: host for host in self._hosts.values()}
        for member in self._members.values():
            before, member.host = member.host, hosts.get(pilot.name_of(member.id))
            if before is not None and member.host is None:
                self._look_at = min(self._look_at, time.monotonic() + _BEAT)  # for what became of it
            if member.host is None or member.has_joined:
                continue
            member.has_joined, self._failures = True, 0
            self._look_at = float("-inf")  # for its node and the end of its time
            if member.host.whole is not None and self._whole is None:
                self._whole = member.host.whole
                self._crew.say(longest=longest(self._whole))

    def _look_at_batch(self) -> None:
        """Ask the batch system what became of them; raises BatchError, and then nothing is known."""
        found = self._batch.look()
        now = time.monotonic()
        self._context.report.over("batch", "Slurm answers again")
        for id, job in found.items():
            if id not in self._members and job.state != "ended":
                self._members[id] = Member(id, job.state)
                self._say(f"found the Slurm job {id}: {job.word.lower()}")
        for id, member in list(self._members.items()):
            if id in found:
                self._note_state(member, found[id])
            elif now >= member.submitted_at + _UNHEARD:
                self._note_state(member, BatchJob(id, "ended", "unknown to Slurm", "", None))
        is_soon = any(member.shown != "running" for member in self._members.values())
        self._look_at = now + (_LOOK_SOON if is_soon else _LOOK)

    def _note_state(self, member: Member, job: BatchJob) -> None:
        member.state, member.word, member.node = job.state, job.word, job.node
        member.until = None if job.left is None or job.state != "running" else time.monotonic() + job.left
        if job.state not in ("ending", "ended"):
            return
        if member.host is not None:  # it may live; but Slurm will end it as soon as it can
            with self._cond:
                member.host.is_leaving = True
        if job.state == "ended" and member.host is None:
            del self._members[member.id]
            self._note_end(member)

    def _note_end(self, member: Member) -> None:
        if member.has_joined or member.stopped_at is not None:
            self._say(f"the Slurm job {member.id} has ended: {member.word.lower()}")
            return
        pause = min(_LONGEST_PAUSE, _TRY_AGAIN * 2**self._failures)
        self._failures += 1
        self._submit_at = time.monotonic() + pause
        self._context.report.event(
            "warning", None,
            f"the Slurm job {member.id} has ended before its Dask worker joined: {member.word.lower()}; another in"
            f" {format_seconds(pause)}; to see what it prints, add: -- --output=FILE",
        )  # fmt: skip

    # --- how many

    def _scale(self) -> None:
        now = time.monotonic()
        asks = [] if self._context.stopping else self._demand.look(self._most)
        missing = self._place(asks, now)
        live = [member for member in self._members.values() if member.state != "ended"]
        number = min(math.ceil(missing / self._count), self._fleet_most - len(live))
        if number > 0:
            self._short_since = self._short_since or now
            if not live or now >= self._short_since + _STEADY:
                self._submit(number, now)
        else:
            self._short_since = None
        self._dismiss_unneeded(now, is_full=missing > 0 and len(live) >= self._fleet_most)

    def _place(self, asks: Iterable[Ask], now: float) -> int:
        """See who could run what; those are needed. How many slots are missing."""
        free: list[tuple[Member, int, int]] = []
        with self._cond:
            for member in self._in_order():
                host = member.host
                if host is not None and host.used:
                    member.needed_at = now
                if host is not None and host.is_open:
                    free.append((member, host.nthreads - host.used, len(host.free_cards)))
                elif member.is_coming:
                    free.append((member, self._count, self._batch.cards))
        missing = lacking = 0
        for ask in asks:
            for at, (member, room, cards) in enumerate(free):
                has_time = member.host is None or member.host.has_time_for(ask.timeout)
                if has_time and room >= ask.slots and cards >= ask.cards:
                    free[at] = member, room - ask.slots, cards - ask.cards
                    member.needed_at = now
                    break
            else:
                missing += ask.slots
                lacking += ask.cards
        return max(missing, math.ceil(lacking / max(1, self._batch.cards)) * self._count)

    def _in_order(self) -> list[Member]:
        """Those that work first, then those that have begun; the oldest of each first, as they end first."""
        ranks = {"running": 0, "starting": 1, "queued": 2, "stopping": 3}
        return sorted(self._members.values(), key=lambda member: (ranks[member.shown], member.submitted_at))

    def _submit(self, number: int, now: float) -> None:
        if now < self._submit_at:
            return
        about = {
            "address": self.address, "keys": self._scheduler.keys, "count": self._count, "seconds": self._batch.seconds,
            "cards": self._batch.cards,
        }  # fmt: skip
        ids: list[str] = []
        try:
            while len(ids) < (1 if self._failures else number):
                ids += [self._batch.submit(pilot.script(about))]
        except BatchError as error:
            self._submit_at = now + _TRY_AGAIN
            self._context.report.once("submit", "warning", f"sbatch: {error}; trying again")
        else:
            self._context.report.over("submit", "sbatch works again")
        for id in ids:
            self._members[id] = Member(id, "queued")
        if ids:
            self._look_at = min(self._look_at, now + _LOOK_SOON)
            slots = format_count(self._count, "slot")
            self._say(f"submitted {_named(ids)} of {slots}: {format_count(len(self._members), 'Slurm job')}")

    def _dismiss_unneeded(self, now: float, *, is_full: bool) -> None:
        """Stop those that have not been needed for a while; soon if they have no time left for what is ready, and keep
        others from being there."""
        queued: list[Member] = []
        running: list[Member] = []
        for member in self._members.values():
            if member.state in ("ending", "ended"):
                continue
            if member.stopped_at is not None and now < member.stopped_at + _STOP_AGAIN:
                continue
            idle = now - member.needed_at
            if member.host is None:
                if member.is_coming and idle >= (0 if self._context.stopping else _SURPLUS):
                    (queued if member.state == "queued" else running).append(member)
            elif not member.host.used:
                is_late = is_full and member.host.is_open
                patience = 0 if self._context.stopping else min(_STEADY, self._keep) if is_late else self._keep
                if idle >= patience:
                    running.append(member)
        self._dismiss_some(queued, running)

    def _dismiss_some(self, queued: list[Member], running: list[Member]) -> None:
        """RACE: a queued one may begin just now: then it is stopped when it is looked at again."""
        now = time.monotonic()
        chosen = []
        with self._cond:
            for member in running:
                if member.host is not None and member.host.used:
                    continue  # it was given a job just now
                if member.host is not None:
                    member.host.is_leaving = True  # first, so that it is given none
                chosen.append(member)
        is_new = [member for member in (*queued, *chosen) if member.stopped_at is None]
        for member in (*queued, *chosen):
            member.stopped_at = now
        if queued:
            self._batch.cancel_queued([member.id for member in queued])
        if chosen:
            self._batch.stop([member.id for member in chosen])
        if is_new:
            self._look_at = min(self._look_at, now + _BEAT)
            left = len([member for member in self._members.values() if member.stopped_at is None])
            ids = [member.id for member in is_new]
            self._say(f"stopped {_named(ids)}, not needed any more: {format_count(left, 'Slurm job')}")

    def _dismiss(self, live: list[Member]) -> None:
        """The worker ends: all of them."""
        if not live:
            return
        ids = [member.id for member in live]
        try:
            self._batch.cancel_queued(ids)
            running = [id for id, job in self._batch.look().items() if id in ids and job.state == "running"]
            if running:
                self._batch.stop(running)
            deadline = time.monotonic() + _LEAVE
            while running and time.monotonic() < deadline:
                time.sleep(_BEAT / 4)
                running = [id for id, job in self._batch.look().items() if id in ids and job.state == "running"]
            if running:
                self._batch.kill(running)
            self._say(f"stopped {_named(ids)}")
        except BatchError as error:
            what = f"cannot stop {_named(ids)}: {error}; to stop them: {self._to_stop}"
            self._context.report.event("warning", None, what)

    # --- what is shown

    def _show(self) -> None:
        """Say in the worker's file what there is, when that changes."""
        shown = [
            {
                "id": member.id,
                "state": member.shown,
                "node": member.node,
                "slots": member.host.nthreads if member.host is not None else self._count,
                "reason": member.word if member.shown == "queued" else "",
                "ends_at": None if member.until is None else self._at(member.until),
            }
            for member in self._in_order()
        ]
        if [{**each, "ends_at": bool(each["ends_at"])} for each in shown] != [
            {**each, "ends_at": bool(each["ends_at"])} for each in self._shown
        ]:
            self._shown = shown
            self._crew.say(batch_jobs=shown)

    def _at(self, monotonic: float) -> str | None:
        return format_rfc3339(self._context.now() + timedelta(seconds=monotonic - time.monotonic()))


def _named(ids: list[str]) -> str:
    return f"the Slurm {'job' if len(ids) == 1 else 'jobs'} {', '.join(ids)}"
