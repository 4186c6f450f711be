"""`Spool`: the queue as Python programs, the command line and the workers see it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from queuectl.core.names import ceil_to_millisecond, format_rfc3339, to_utc
from queuectl.core.result import State
from queuectl.core.retry import RetryPolicy
from queuectl.errors import NotFoundError, QueuectlError, SpoolError
from queuectl.lazy import Lazy
from queuectl.spool.system import layout
from queuectl.spool.system.clock import now

if TYPE_CHECKING:
    from pathlib import Path

    from queuectl.core.admission import Pause
    from queuectl.core.job import Job
    from queuectl.core.settings import Settings
    from queuectl.spool.moves import by_hand, edit, submit, undo
    from queuectl.spool.moves.edit import Draft
    from queuectl.spool.reading import explain, metrics, query, waiting, workers
    from queuectl.spool.reading.explain import Explanation
    from queuectl.spool.reading.metrics import Metrics
    from queuectl.spool.system import pause, settings
    from queuectl.spool.system.settings import Found
else:
    by_hand, edit, explain, metrics, pause, settings, query, submit, undo, waiting, workers = (
        Lazy(f"queuectl.spool.{name}")
        for name in (
            "moves.by_hand",
            "moves.edit",
            "reading.explain",
            "reading.metrics",
            "system.pause",
            "system.settings",
            "reading.query",
            "moves.submit",
            "moves.undo",
            "reading.waiting",
            "reading.workers",
        )
    )


class Spool:
    """A job queue that is a directory.

        spool = Spool("spool")
        job = spool.enqueue("echo hi", priority=1)
        spool.wait(job.id, timeout=60).result

    Raises SpoolError if there is no spool at `path`, unless `create` is true. Any number of
    processes and threads may use one spool at once. Ids may be shortened to a unique prefix
    (AmbiguousIdError otherwise; NotFoundError for none). A Job that was just read can be passed instead of
    an id: it is not searched for, and WrongStateError is raised if it has changed state since.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.layout = layout.Layout(os.path.abspath(path))
        self.created = False
        self._settings: settings.Source | None = None
        if os.path.isdir(self.layout.root) and not os.access(self.layout.root, os.X_OK):
            raise _closed(self.layout.root)
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

    # --- settings

    @property
    def settings(self) -> Settings:
        """The settings in force; the default replaces an invalid one. Read when first used, and again when
        config.toml has changed."""
        return self.examine_settings().settings

    def examine_settings(self) -> Found:
        """Every setting with where it comes from, and what is wrong with them. Read as `settings` is."""
        if self._settings is None:
            self._settings = settings.Source(self.layout)
        return self._settings.examine()

    # --- submitting

    def enqueue(self, command: str | Sequence[str], **fields: Any) -> Job:
        """Queue one job; once this returns, the job survives a power cut.

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

    def enqueue_many(
        self, jobs: Iterable[Mapping[str, Any]], *, is_held: bool = False
    ) -> Iterator[Job | QueuectlError]:
        """Queue many jobs, given as job bodies, in durable groups; yields for each its job or its error.

        Those that are held from the beginning never start before `release`.

        A job that is yielded survives a power cut. A SpoolError, raised or yielded, means that the spool
        cannot take more; its job, or group, was not queued (but see DurabilityError).
        """
        group: list[Mapping[str, Any]] = []
        for fields in jobs:
            group.append(with_directory(fields))
            if len(group) == submit.GROUP:
                yield from submit.submit(self.layout, group, now(), is_held=is_held)
                group = []
        if group:
            yield from submit.submit(self.layout, group, now(), is_held=is_held)

    # --- reading

    def get(self, id: str) -> Job:
        """The job of that id (or unique prefix), with its body."""
        return query.find(self.layout, id)

    def get_all(self, ids: Iterable[str]) -> Iterator[Job]:
        """`get` of many: whole ids are looked up together, by one listing."""
        wanted = [*ids]
        found = query.locate_all(self.layout, set(wanted), patience=1) if len(wanted) > 1 else {}
        for id in wanted:
            job = query.load(self.layout, *found[id]) if id in found else None
            yield job or query.find(self.layout, id)

    def list(
        self,
        states: Sequence[State] = (State.RUNNING, State.PENDING, State.DEAD, State.DONE),
        *,
        limit: int | None = None,
        match: str | None = None,
        where: Callable[[Any], bool] | None = None,
    ) -> Iterator[Job]:
        """Jobs of these states: pending and running in the order of `ls`, finished ones newest first.

        `match` is a text that the id or the command contains; `where` is called with each parsed name.
        Bodies are read as the iterator advances.
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
        return metrics.measure(self.layout, now())

    def workers(self) -> Iterator[dict[str, Any]]:
        """What each worker recorded about itself, with `alive`, its `state` (lease.state_of) and the ids it `runs`."""
        yield from workers.list_workers(self.layout, is_paused=self.is_paused())

    def explain(self, id: str) -> Explanation:
        """Why a job is not running, and when it will; also for a file in pending/ that is not a job yet.

        Raises NotFoundError or AmbiguousIdError.
        """
        return explain.explain(self.layout, id, self.examine_settings())

    def log_path(self, id: str) -> Path:
        return self.path / f"logs/{id}.log"

    # --- acting

    def retry(self, id: str | Job, *, run_at: datetime | None = None) -> Job:
        """Start a finished job again, at once or at `run_at`, from attempt 0 and with its old log.

        Raises WrongStateError for a job that is not done or dead, InvalidJobError for one that cannot run.
        """
        return by_hand.retry(self.layout, id, run_at)

    def cancel(self, id: str | Job, *, grace: float | None = None, policy: RetryPolicy | None = None) -> Job:
        """Take a waiting job out of the queue, or end a running one with all its processes.

        A running job is settled as `cancelled` first; then its processes, if they can be seen from here, get SIGTERM
        and after `grace` seconds SIGKILL. Raises WaitTimeoutError if it is not known in time whether all of it has
        ended, and WrongStateError for a job that has ended by itself (and is not to be tried again by `policy` or its
        own). `grace` and `policy` are those of the settings if not given.
        """
        if grace is None:
            grace = self.settings.grace
        return by_hand.cancel(self.layout, id, grace, policy or self.settings.policy)

    def kill(self, id: str | Job, number: int = 15) -> Job:
        """Send a signal to every process of a running job; the rest is up to the job and its worker."""
        return by_hand.kill(self.layout, id, number)

    def is_alive(self, id: str) -> bool:
        """Whether a worker or any process of the job of exactly this id still locks its log (or that is unknown)."""
        return by_hand.is_alive(self.layout, id)

    def hold(self, id: str | Job) -> Job:
        """Keep a waiting job from starting until it is released; does nothing if it is already held."""
        return by_hand.hold(self.layout, id)

    def release(self, id: str | Job, *, run_at: datetime | None = None) -> Job:
        """Release a held job: at `run_at`, else at its body's time if that is still to come, else at once."""
        return by_hand.let_go(self.layout, id, run_at)

    def first(self, id: str | Job, *, ahead_of: Job | None = None) -> Job:
        """Put a waiting job in front of all jobs that are due; this releases a held one.

        To put many first, pass as `ahead_of` what the previous call returned: then nothing is searched for.
        """
        return by_hand.first(self.layout, id, ahead_of)

    def reschedule(self, id: str | Job, *, priority: int | None = None, run_at: datetime | None = None) -> Job:
        """Give a pending job another priority or time."""
        return by_hand.reschedule(self.layout, id, priority, run_at)

    def undo(self, before: Job, after: Job) -> Job:
        """Move a job back that a retry, a cancel while it waited, `hold`, `release`, `first` or `reschedule` has moved
        from `before` to `after`: it gets the name back that it had, with its attempts and its result.

        Raises WrongStateError, and changes nothing, if it has started, ended, been moved, edited or deleted since.
        """
        return undo.undo(self.layout, before, after)

    def set_fields(self, id: str | Job, **fields: Any) -> Job:
        """Change fields of a waiting job's body; None removes a field, or a variable of `env`; the id cannot change.

        All but `priority` and `run_at` swap the job's file for a new one, in one step: a worker starts the old
        job or the new one. Raises InvalidJobError, or WrongStateError if the job has started.
        """
        return edit.set_fields(self.layout, id, fields)

    def edit(self, id: str | Job) -> Draft:
        """The text of a job that is not running, for an editor; `apply` saves it."""
        return edit.draft(self.layout, id)

    def apply(self, draft: Draft, text: str) -> Job:
        """Swap a job's body for an edited text, in one step.

        Raises NotJsonError or InvalidJobError for a text that is not a runnable job, WrongStateError if the job has
        started or was changed by someone else since it was read.
        """
        return edit.apply(self.layout, draft, text)

    def drop(self, id: str | Job) -> Job:
        """Delete a done or dead job and its log; its id is free again.

        Raises WrongStateError while a process that the job left behind holds its log.
        """
        return by_hand.drop(self.layout, id)

    # --- pausing

    def pause(self, reason: str = "", until: datetime | None = None) -> None:
        """Stop workers from starting jobs until `until`, or until the queue is resumed; running jobs continue."""
        pause.write(self.layout, reason, until)

    def resume(self) -> bool:
        """End the pause; whether there was one."""
        return pause.remove(self.layout)

    def paused(self) -> Pause | None:
        """The pause in force, with its reason; None if there is none or it has expired."""
        return pause.read(self.layout, now)

    def is_paused(self) -> bool:
        return self.paused() is not None

    # --- waiting

    def wait(self, id: str | Job, *, timeout: float | None = None) -> Job:
        """The job once it is done or dead; raises WaitTimeoutError after `timeout` seconds.

        Raises NotFoundError if it is deleted in the meantime, UsageError if this process is a part of it.
        """
        ended = next(self.ends([id], timeout=timeout))
        if isinstance(ended, NotFoundError):
            raise ended
        return ended

    def ends(self, ids: Iterable[str | Job], *, timeout: float | None = None) -> Iterator[Job | NotFoundError]:
        """Each of these jobs once it is done or dead, as they end (two at almost the same time in any order).

        A job that is deleted in the meantime yields a NotFoundError. Raises WaitTimeoutError after `timeout` seconds,
        UsageError if this process is a part of one of them.
        """
        jobs = [query.find(self.layout, id) for id in ids]
        return waiting.ends(self.layout, jobs, timeout)

    def wait_until_idle(self, timeout: float | None = None) -> None:
        """Wait until no job is running, under any worker; raises WaitTimeoutError after `timeout` seconds.

        The job that this process is a part of does not count.
        """
        waiting.wait_until_idle(self.layout, timeout)

    def watch(self, jobs: Iterable[Job], *, logs: Iterable[str] = ()) -> waiting.Watch:
        """Watch jobs until they end, and logs for growth; for callers that do something else in between."""
        return waiting.Watch(self.layout, jobs, logs=logs)


def _closed(root: str) -> SpoolError:
    """The error for a user who may not enter a spool."""
    from queuectl.spool.system import trust

    status = os.stat(root)
    owner, group = trust.name_of(status.st_uid), trust.group_of(status.st_gid)
    if not status.st_mode & 0o010:
        return SpoolError(f"you may not use {root}", f"it belongs to {owner}")
    return SpoolError(
        f"you may not use {root}",
        f"it belongs to {owner}, and members of the group {group} may hand in jobs",
        f"ask to be added to {group}; then log in again",
    )


def _missing(root: str) -> SpoolError:
    if os.path.exists(root):
        return SpoolError(f"{root} is not a spool", "it lacks the directories pending, running, done and dead")
    return SpoolError(f"there is no spool at {root}", hint=f"create one: queuectl init {root}")


def with_directory(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A body with its time as text, and the current directory unless it names one."""
    whole = {key: value for key, value in fields.items() if value is not None}
    if isinstance(whole.get("run_at"), datetime):
        whole["run_at"] = format_rfc3339(ceil_to_millisecond(to_utc(whole["run_at"])))
    cwd = whole.get("cwd", "")
    if isinstance(cwd, str) and not cwd.startswith("/"):
        whole["cwd"] = os.path.normpath(os.path.join(os.getcwd(), cwd))
    return whole


def _matches(job: Job, text: str) -> bool:
    command = job.command or ""
    return text in job.id or text in (command if isinstance(command, str) else " ".join(command))
