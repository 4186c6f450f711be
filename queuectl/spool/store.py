"""`Spool`: the queue as Python programs, the command line and the workers see it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from queuectl.core import body, lifecycle
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, PendingName, RunningName, ceil_to_millisecond, format_rfc3339
from queuectl.core.result import State
from queuectl.errors import (
    InvalidJobError,
    QueuectlError,
    SpoolError,
    WaitTimeoutError,
    WrongStateError,
)
from queuectl.spool import files, layout, lease, logs, query, submit
from queuectl.spool.clock import now
from queuectl.spool.layout import STATES

if TYPE_CHECKING:
    from pathlib import Path

    from queuectl.spool.metrics import Metrics

_GRACE = 5.0


class Spool:
    """A job queue that is a directory.

        spool = Spool("spool")
        job = spool.enqueue("echo hi", priority=1)
        spool.wait(job.id, timeout=60).result

    Raises SpoolError if there is no spool at `path`, unless `create` is true. Any number of
    processes and threads may use one spool at once. Ids may be shortened to a unique prefix
    (AmbiguousIdError otherwise; NotFoundError for none). Where an id is taken, a Job that was just
    looked at stands for itself: it is not searched for, and WrongStateError tells if it has moved on.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.layout = layout.Layout(os.path.abspath(path))
        self.created = False
        if create:
            self.created = layout.create(self.layout.root)
        elif layout.is_spool(self.layout.root):
            layout.complete(self.layout.root)
        else:
            raise _missing(self.layout.root)

    @property
    def path(self) -> Path:
        from pathlib import Path

        return Path(self.layout.root)

    # --- submitting

    def enqueue(self, command: str | Sequence[str], **fields: Any) -> Job:
        """Queue one job; when this returns, the job would survive a power cut.

        `command` is a string for /bin/sh, or a sequence of strings to run as it is. `fields` are those of
        the job body (`id`, `priority`, `run_at`, `timeout`, `max_retries`, `backoff_base`, `backoff_max`,
        `cwd`, `env`), and any others to keep with it; `run_at` may be an aware datetime. Without `cwd` the job
        runs in the current directory.

        Raises InvalidJobError, AlreadyExistsError, or SpoolError.
        """
        words = command if isinstance(command, str) else list(command)
        outcome = next(self.enqueue_many([{"command": words, **fields}]))
        if isinstance(outcome, QueuectlError):
            raise outcome
        return outcome

    def enqueue_many(self, jobs: Iterable[Mapping[str, Any]]) -> Iterator[Job | QueuectlError]:
        """Queue many jobs, given as job bodies, in durable groups; yields for each its job or its error.

        A job that is yielded would survive a power cut. A SpoolError, raised or yielded, says that the spool
        cannot take more; what it stands for was not queued (but see DurabilityError).
        """
        group: list[Mapping[str, Any]] = []
        for fields in jobs:
            group.append(_complete(fields))
            if len(group) == submit.GROUP:
                yield from submit.submit(self.layout, group, now())
                group = []
        if group:
            yield from submit.submit(self.layout, group, now())

    # --- looking

    def get(self, id: str) -> Job:
        """The job of that id (or unique prefix), with its body."""
        return self._find(id)

    def list(
        self,
        states: Sequence[State] = (State.RUNNING, State.PENDING, State.DEAD, State.DONE),
        *,
        limit: int | None = None,
        match: str | None = None,
        where: Callable[[Any], bool] | None = None,
    ) -> Iterator[Job]:
        """Jobs of these states: pending and running in the order of `ls`, finished ones newest first.

        `match` is a text that the id or the command holds; `where` is asked with each name's value.
        Bodies are read as the iterator goes on.
        """
        found = 0
        for state in states:
            plain = limit if match is None and where is None else None
            for name in query.sorted_names(self.layout, state, plain):
                if limit is not None and found >= limit:
                    return
                if where is not None and not where(query.parse_name(state, name)):
                    continue
                job = query.load(self.layout, state, name)
                if job is not None and (match is None or _matches(job, match)):
                    found += 1
                    yield job

    def counts(self) -> query.Counts:
        return query.count(self.layout, now())

    def metrics(self) -> Metrics:
        from queuectl.spool.metrics import measure

        return measure(self.layout, now())

    def is_paused(self) -> bool:
        return os.path.lexists(self.layout.paused)

    def workers(self) -> Iterator[dict[str, Any]]:
        """What each worker said of itself when it started, `alive`, and the ids it `runs`."""
        runs: dict[str, list[str]] = {}
        for text in query.list_names(self.layout, State.RUNNING):
            name = RunningName.parse(text)
            if name:
                runs.setdefault(name.worker, []).append(name.id)
        known = {entry.removesuffix(".json") for entry in os.listdir(self.layout.workers) if entry.endswith(".json")}
        for worker in sorted(known | runs.keys()):
            info = lease.read_worker(self.layout, worker)
            yield {
                **info,
                "worker": worker,
                "alive": lease.is_worker_alive(self.layout, worker),
                "runs": sorted(runs.get(worker, [])),
            }

    def log_path(self, id: str) -> Path:
        return self.path / f"logs/{id}.log"

    # --- acting

    def retry(self, id: str | Job, *, run_at: datetime | None = None) -> Job:
        """Start a finished job again, at once or at `run_at`, from attempt 0 and with its old log.

        Raises WrongStateError for a job that is not done or dead, InvalidJobError for one that cannot run.
        """
        job = self._find(id)
        if not isinstance(job.name, FinishedName):
            raise WrongStateError(f"job {job.id} is {job.state}", "only a done or dead job can be retried")
        if job.problem is not None:
            raise InvalidJobError([job.problem], f"mend it in {job.path}, then retry")
        with os.fdopen(logs.open_log(self.layout.log(job.id)), "rb") as log:
            ended = logs.format_ended(job.attempts, job.name.finished_at, job.name.duration)
            logs.append_note(log.fileno(), "retry", f"at={format_rfc3339(now())} after={job.result} {ended}")
        return self._move(job, lifecycle.retry_by_hand(job.name, run_at or now()))

    def reschedule(self, id: str | Job, *, priority: int | None = None, run_at: datetime | None = None) -> Job:
        """Give a pending job another priority or time."""
        job = self._find(id)
        if not isinstance(job.name, PendingName):
            raise WrongStateError(f"job {job.id} is {job.state}", "only a pending job can be rescheduled")
        return self._move(job, lifecycle.reschedule(job.name, priority=priority, run_at=run_at))

    def cancel(self, id: str | Job, *, grace: float = _GRACE) -> Job:
        """Take a waiting job out of the queue, or end a running one with all its processes.

        A running job is settled as `cancelled` first; then its processes, if they are on this host,
        get SIGTERM and after `grace` seconds SIGKILL. Another host's worker ends them at its next look.
        """
        job = self._find(id)
        if isinstance(job.name, FinishedName):
            raise WrongStateError(f"job {job.id} has ended already", f"{job.state}, {job.result}")
        cancelled = self._move(job, lifecycle.cancel(job.name, now()))
        if isinstance(job.name, RunningName):
            self._end_processes(job.name, grace)
        return cancelled

    def drop(self, id: str | Job) -> Job:
        """Delete a dead job and its log; its id is free again.

        Raises WrongStateError while a process that the job left behind holds its log.
        """
        job = self._find(id, (State.DEAD,))
        if job.state is not State.DEAD or not isinstance(job.name, FinishedName):
            raise WrongStateError(f"job {job.id} is {job.state}", "only a dead job can be dropped")
        from queuectl.spool import prune

        if not prune.delete(self.layout, job.state, job.name):
            raise WrongStateError(
                f"job {job.id} cannot be dropped", "it has just moved on, or a process of it still runs"
            )
        return job

    def wait(self, id: str, *, timeout: float | None = None) -> Job:
        """The job once it is done or dead; raises WaitTimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        job = self._find(id)
        while not isinstance(job.name, FinishedName):
            if not files.is_gone(job.path):
                if deadline is not None and time.monotonic() >= deadline:
                    raise WaitTimeoutError(f"job {job.id} is still {job.state}", f"waited {timeout:g} s")
                time.sleep(pause)
                pause = min(pause * 1.5, 0.25)
            else:
                job = self._find(job.id)
                pause = 0.005
        return job

    # --- internal

    def _find(self, id: str | Job, states: tuple[State, ...] = STATES) -> Job:
        if isinstance(id, Job):
            return id
        while True:
            job = query.load(self.layout, *query.resolve(self.layout, id, states))
            if job is not None:
                return job  # else it moved between the listing and the read: look again

    def _move(self, job: Job, move: lifecycle.Move) -> Job:
        path = self.layout.job(*move)
        try:
            moved = files.move(job.path, path)
        except OSError as error:
            raise layout.unusable(self.layout.root, error) from error
        if not moved:
            raise WrongStateError(
                f"job {job.id} has just moved on", "a worker or another command was first", "look again"
            )
        return Job(move.state, move.name, path, job.body, job.fields, job.problem)

    def _end_processes(self, name: RunningName, grace: float) -> None:
        attempt = logs.read_attempt(self.layout.log(name.id), name)[0]
        from queuectl.spool import processes

        token = processes.token_of(name, attempt.worker if attempt else name.worker)
        pid = attempt.pid if attempt and attempt.pid and processes.carries_token(attempt.pid, token) else None
        processes.terminate(token, pid, grace)


def _missing(root: str) -> SpoolError:
    if os.path.exists(root):
        return SpoolError(f"{root} is not a spool", "it lacks the directories pending, running, done and dead")
    return SpoolError(f"there is no spool at {root}", hint=f"make one: queuectl init {root}")


def _complete(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A body with its time as text, and the current directory where it names none."""
    whole = {key: value for key, value in fields.items() if value is not None}
    if isinstance(whole.get("run_at"), datetime):
        whole["run_at"] = format_rfc3339(ceil_to_millisecond(whole["run_at"].astimezone(UTC)))
    cwd = whole.get("cwd", "")
    if isinstance(cwd, str) and not cwd.startswith("/"):
        whole["cwd"] = os.path.normpath(os.path.join(os.getcwd(), cwd))
    return whole


def _matches(job: Job, text: str) -> bool:
    command = job.command or ""
    return text in job.id or text in (command if isinstance(command, str) else " ".join(command))


def parse_line(line: bytes) -> dict[str, Any]:
    """One line of JSON as a job body; raises NotJsonError or InvalidJobError."""
    fields = body.decode(line)
    body.validate({**fields, "cwd": None})
    return fields
