"""Why a job does not start: facts in, reasons out. The worker, `explain` and the dashboard all ask here.

The caller gathers the facts; a fact that was not gathered (None) gives no reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from queuectl.core import groups
from queuectl.core.groups import Choice, MaxFailed
from queuectl.core.names import PendingName, format_rfc3339
from queuectl.core.result import Result
from queuectl.core.seats import Seats
from queuectl.core.text import format_count, format_instant, format_seconds, format_size, format_when
from queuectl.tuples import NamedTuple

_NAMED = 5  # of the jobs that have seats
_MOST_SLOTS = 1_000_000
"""A worker's file that says more is not one of ours."""
MIN_FREE_INODES = 64
"""Free inodes below which no job is started."""


class Pause(NamedTuple):
    """Since when no job is started, until when (None: until resumed), and why.

    `is_brake` is whether `max-failed` has made it, and not a person.
    """

    since: datetime
    until: datetime | None = None
    reason: str = ""
    is_brake: bool = False

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`."""
        return {"since": format_rfc3339(self.since), "until": format_rfc3339(self.until), "reason": self.reason}


_NO_DEFAULTS: Mapping[str, Any] = {}


class Group(NamedTuple):
    """What the files of a group say. `problem` is why one of them cannot be used, or empty: then none starts.

    `seats` are those of this host, `defaults` the values of fields that its jobs do not set themselves.
    """

    name: str
    limit: int | None = None
    paused: Pause | None = None
    max_failed: MaxFailed | None = None
    problem: str = ""
    seats: Seats | None = None
    seat_env: str | None = None
    defaults: Mapping[str, Any] = _NO_DEFAULTS


class Room(NamedTuple):
    """Free bytes and inodes for this user; None inodes where the file system does not count them.

    `problem` is why neither could be found out, or empty.
    """

    free: int
    inodes: int | None
    problem: str = ""


class Workers(NamedTuple):
    """Workers that take jobs: how many, their slots, and the jobs in those; how many live, but are stopping; how many
    live, but do not take the job in question; and the slots of the one that has most.

    `batch` is the batch system if they are all on one, with so many batch jobs `coming`, and `longest` the longest
    timeout in seconds of which any of them sees the end; None for any. `seats` are the most that one of them has of its
    own, by group.
    """

    number: int
    slots: int
    busy: int
    stopping: int
    others: int = 0
    largest: int = 0
    batch: str = ""
    coming: int = 0
    longest: float | None = None
    seats: Mapping[str, int] = MappingProxyType({})

    @classmethod
    def of(cls, workers: Iterable[Mapping[str, Any]], id: str | None = None) -> Workers:
        """Of workers as `Spool.workers` describes them, for that job, or for any."""
        number = slots = busy = stopping = others = largest = 0
        batches: list[Mapping[str, Any]] = []
        seats: dict[str, int] = {}
        for worker in workers:
            if worker["state"] == "stopping":
                stopping += 1
            elif worker["alive"] and id is not None and not Choice.of_worker(worker).takes(id):
                others += 1
            elif worker["alive"]:
                said = worker.get("slots")
                own = said if isinstance(said, int) and 0 <= said < _MOST_SLOTS else 1  # an engine may have none now
                widest = worker.get("widest", own)  # on an engine a job has to fit on one machine
                if "batch" in worker:  # its slots come with the jobs
                    batches.append(worker)
                else:
                    widest = widest if isinstance(widest, int) and widest < own else own
                number, slots, largest = number + 1, slots + own, max(largest, widest)
                busy += len(worker["runs"])
                for group, there in own_seats(worker).items():
                    seats[group] = max(seats.get(group, 0), len(there))
        found = cls(number, slots, busy, stopping, others, largest, seats=seats)
        return found._on_batch(batches) if batches and len(batches) == number else found

    def _on_batch(self, workers: list[Mapping[str, Any]]) -> Workers:
        """What these say of their batch system."""
        limits = [worker.get("longest") for worker in workers]
        longest = None if None in limits else max(limit for limit in limits if limit is not None)
        jobs = [job for worker in workers for job in worker.get("batch_jobs", ())]
        coming = sum(job.get("state") in ("queued", "starting") for job in jobs)
        return self._replace(batch=str(workers[0]["batch"]), coming=coming, longest=longest)


def own_seats(worker: Mapping[str, Any]) -> dict[str, list[str]]:
    """The seats that a worker has itself, by group, as its file says, which may be nonsense."""
    said = worker.get("seats")
    return {group: there for group, there in said.items() if isinstance(there, list)} if isinstance(said, dict) else {}


class Queue(NamedTuple):
    """The facts about the queue: `min_free` is the setting, `wrong_settings` why no worker could start with what is
    set, or empty; workers that live keep the settings that they had."""

    paused: Pause | None = None
    room: Room | None = None
    min_free: int = 0
    workers: Workers | None = None
    wrong_settings: str = ""


class Need(NamedTuple):
    """So many seats of a group that a job needs, of so many that there are and that are free; and the ids of the jobs
    that have one."""

    group: str
    number: int
    total: int
    free: int
    holders: tuple[str, ...] = ()


class Waiting(NamedTuple):
    """The facts about one pending job.

    `problem` is why it is not runnable, `is_running` whether an earlier attempt of it may still run, `max_retries`
    its own or the setting, `last` how the last attempt ended, `ahead` how many jobs will start before it, `groups`
    those of its groups that have settings, each with how many jobs of it run, `seats` and `slots` what it needs to run,
    `timeout` the seconds after which it is ended.
    """

    name: PendingName
    max_retries: int
    problem: str | None = None
    is_running: bool = False
    last: Result | None = None
    ahead: int | None = None
    groups: tuple[tuple[Group, int], ...] = ()
    seats: tuple[Need, ...] = ()
    slots: int = 1
    timeout: float | None = None


class Reason(NamedTuple):
    """One thing that keeps a job from running: a word for programs, a text for people, when it will be over."""

    reason: str
    text: str
    until: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {"reason": self.reason, "text": self.text, "until": format_rfc3339(self.until)}


def of_job(job: Waiting, queue: Queue, now: datetime) -> list[Reason]:
    """Every reason why a pending job has not started, in the order in which they matter; never empty."""
    of_groups = (reason for group, running in job.groups for reason in of_group(group, running))
    needs = (
        *of_seats(_beyond_own(job.seats, queue.workers)),
        *_of_slots(job.slots, queue.workers),
        *_of_timeout(job, queue.workers),
    )
    reasons = [*_of_its_own(job, now), *of_groups, *needs, *of_queue(queue, job.name.id)]
    if job.ahead:
        reasons.append(Reason("behind", f"{format_count(job.ahead, 'job')} before it"))
    return reasons or [Reason("due", "due now; waiting for a worker to pick it up")]


def _of_its_own(job: Waiting, now: datetime) -> Iterator[Reason]:
    """What its name, its bytes and its log say."""
    name = job.name
    if job.problem is not None:
        yield Reason("invalid", f"it is not a runnable job and will be refused: {job.problem}")
    if job.is_running:
        text = "an attempt that was cancelled, or whose file was moved, may still be running: its lock is held"
        yield Reason("running", text)
    if name.is_held:
        yield Reason("held", f"it is held; to release it: queuectl release {name.id}")
    elif name.is_waiting:
        yield Reason("waiting", f"it waits for other jobs; see: queuectl explain {name.id}")
    elif name.run_at > now and name.attempts:
        after = f", after {job.last}" if job.last else ""
        text = f"retry {name.attempts} of {job.max_retries} {format_when(name.run_at, now)}{after}"
        yield Reason("retry", text, name.run_at)
    elif name.run_at > now:
        text = f"scheduled for {format_instant(name.run_at)} ({format_when(name.run_at, now)})"
        yield Reason("scheduled", text, name.run_at)


def of_queue(queue: Queue, id: str = "") -> Iterator[Reason]:
    """What keeps any job from starting, or that one."""
    if queue.paused is not None:
        yield of_pause(queue.paused)
    if queue.room is not None:
        yield from of_room(queue.room, queue.min_free)
    if queue.workers is not None:
        yield from of_workers(queue.workers, queue.wrong_settings, id)


def of_pause(paused: Pause, group: str = "") -> Reason:
    """The pause of the queue, or of a group."""
    until = f", until {format_instant(paused.until)}" if paused.until else ""
    to_continue = f"queuectl resume --group {group}" if group else "queuectl resume"
    why = f": {paused.reason}" if paused.reason else f"; to continue: {to_continue}"
    what = f"the group {group}" if group else "the queue"
    return Reason("paused", f"{what} has been paused since {format_instant(paused.since)}{until}{why}", paused.until)


def of_group(group: Group, running: int | None = None) -> Iterator[Reason]:
    """What keeps jobs of the group from starting; `running` is how many of it run, if somebody has counted."""
    if group.problem:
        yield Reason("group", f"{group.problem}; no job of the group {group.name} is started")
    if group.paused is not None:
        yield of_pause(group.paused, group.name)
    if group.limit == 0:
        yield Reason("limit", f"the limit of the group {group.name} is 0")
    elif group.limit is not None and running is not None and running >= group.limit:
        text = f"the group {group.name} runs {format_count(running, 'job')}, its limit is {group.limit}"
        yield Reason("limit", text)


def of_seats(needs: Iterable[Need]) -> Iterator[Reason]:
    """What seats keep a job from starting."""
    for group, number, total, free, holders in needs:
        asked = f"it needs {format_count(number, 'seat')} of {group}"
        if not total:
            yield Reason(
                "seats", f"{asked}, which has none; to give it some: queuectl group set {group} seats={number}"
            )
        elif number > total:
            yield Reason("seats", f"{asked}, which has {total}")
        elif number > free:
            by = dict.fromkeys(holders)
            named = ", ".join([*by][:_NAMED]) + (", …" if len(by) > _NAMED else "")
            yield Reason("seats", f"{asked}, {free or 'none'} of {total} free; held by {named or 'nobody known'}")


def _beyond_own(needs: Iterable[Need], workers: Workers | None) -> Iterator[Need]:
    """Those that no worker can meet with seats of its own, of which nobody here knows whether they are free."""
    own = workers.seats if workers is not None else {}
    for need in needs:
        if need.number > own.get(need.group, 0):
            yield need._replace(total=max(need.total, own.get(need.group, 0)))


def _of_slots(slots: int, workers: Workers | None) -> Iterator[Reason]:
    if workers is None or slots < 2 or not workers.number or not (workers.slots or workers.batch):
        return
    if slots > workers.largest:
        text = f"it asks for {slots} slots, the largest worker has {workers.largest}"
        yield Reason("slots", f"{text}; to start a larger one: queuectl worker start --count {slots}")
    elif slots > workers.slots - workers.busy:
        free = max(0, workers.slots - workers.busy)
        yield Reason("slots", f"it asks for {slots} slots of one worker; {free} of {workers.slots} are free")


def _of_timeout(job: Waiting, workers: Workers | None) -> Iterator[Reason]:
    """Whether a batch job of any worker sees the end of its timeout."""
    timeout, longest = job.timeout, workers.longest if workers is not None else None
    if workers is not None and longest is not None and timeout is not None and timeout > longest:
        most = f"{max(0, int(longest))}s"
        text = f"its timeout of {format_seconds(timeout)} is longer than a {workers.batch} job has time for, {most}"
        hint = f"start a worker with a longer --time, or: queuectl set {job.name.id} timeout={most}"
        yield Reason("timeout", f"{text}; {hint}")


def of_room(room: Room, min_free: int) -> Iterator[Reason]:
    """Whether how a job ends could be recorded."""
    if room.problem:
        yield Reason("full", room.problem)
    elif room.free < min_free:
        text = f"the disk is full: {format_size(room.free)} free, min-free is {format_size(min_free)}"
        yield Reason("full", text)
    elif room.inodes is not None and room.inodes < MIN_FREE_INODES:
        text = f"the disk is full: {format_count(room.inodes, 'inode')} free; no job starts below {MIN_FREE_INODES}"
        yield Reason("full", text)


def of_workers(workers: Workers, wrong_settings: str, id: str = "") -> Iterator[Reason]:
    """Whether there is a worker that would take a job, or that one, and has a free slot."""
    if workers.number and workers.busy >= workers.slots:
        slots, number = format_count(workers.slots, "slot"), format_count(workers.number, "worker")
        has_none = "no worker of the engine has joined, so there are no slots"
        if workers.batch:
            has_none = f"no {workers.batch} job runs now, {workers.coming or 'none'} queued or starting"
        yield Reason("busy", f"all {slots} of {number} are busy" if workers.slots else has_none)
    if workers.number:
        return
    if wrong_settings:
        yield Reason("settings", f"no worker can start: {wrong_settings}")
    if workers.others:
        yield _of_choice(id)
        return
    why = "all workers are stopping" if workers.stopping else "no worker is alive"
    yield Reason("no-worker", f"{why}; to start one: queuectl worker start")


def _of_choice(id: str) -> Reason:
    """That workers live, and each takes only jobs of other groups."""
    own = groups.of(id)
    what, option = (f"the group {own[-1]}", f" --group {own[-1]}") if own else ("jobs without a group", "")
    return Reason("no-worker", f"no living worker takes {what}; to start one: queuectl worker start{option}")


def of_stopped(id: str) -> Reason:
    """Why a running job makes no progress: a signal has stopped it."""
    return Reason("stopped", f"its processes are stopped; to continue them: queuectl kill -s CONT {id}")


def of_orphan(*, is_running: bool | None) -> Reason:
    """Why a running job is not being watched: its worker is gone.

    `is_running` says whether processes of it were found; None if nobody looked.
    """
    gone = {
        None: "its worker is gone",
        True: "its worker is gone, its processes are still running",
        False: "its worker and its processes are gone",
    }[is_running]
    return Reason("orphaned", f"{gone}; the next worker on its host takes it over")
