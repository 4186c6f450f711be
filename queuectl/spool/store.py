"""`Spool`: the queue as Python programs, the command line and the workers see it."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from queuectl.core import charset, from_python
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.retry import RetryPolicy
from queuectl.errors import NotFoundError, QueuectlError, SpoolError, UsageError
from queuectl.lazy import Lazy, function
from queuectl.spool.system import files, layout
from queuectl.spool.system.clock import now

if TYPE_CHECKING:
    from pathlib import Path

    from queuectl.core.admission import Pause
    from queuectl.core.settings import Settings
    from queuectl.spool.keywords import Command, JobChanges, JobFields
    from queuectl.spool.moves import by_hand, edit, submit, undo
    from queuectl.spool.moves.edit import Draft
    from queuectl.spool.reading import explain, metrics, output, query, states, waiting, workers
    from queuectl.spool.reading.endings import Endings
    from queuectl.spool.reading.explain import Explanation
    from queuectl.spool.reading.hosts import HostState
    from queuectl.spool.reading.metrics import Metrics
    from queuectl.spool.reading.output import AttemptLog
    from queuectl.spool.system import pause, settings
    from queuectl.spool.system.settings import Found
else:
    by_hand, edit, explain, metrics, output, pause, settings, query, states, submit, undo, waiting, workers = (
        Lazy(f"queuectl.spool.{name}")
        for name in (
            "moves.by_hand",
            "moves.edit",
            "reading.explain",
            "reading.metrics",
            "reading.output",
            "system.pause",
            "system.settings",
            "reading.query",
            "reading.states",
            "moves.submit",
            "moves.undo",
            "reading.waiting",
            "reading.workers",
        )
    )

_SWAP = function("queuectl.spool.moves.replace", "swap")


class Spool:
    """A job queue that is a directory.

        spool = Spool("spool")
        job = spool.enqueue("echo hi", priority=1, timeout="10m")
        spool.wait(job, timeout=60).result
        spool.output(job)

    Without `path` it is the one that the command `queuectl` works on: $QUEUECTL_SPOOL, else spool/ in this or the
    nearest parent directory, else the one in your home, which is created if it does not exist.
    Raises SpoolError if there is no spool at `path`, unless `create` is true. Any number of
    processes and threads may use one spool at once. Ids may be shortened to a unique prefix
    (AmbiguousIdError otherwise; NotFoundError for none). A Job that was just read can be passed instead of
    an id: it is not searched for, and WrongStateError is raised if it has changed state since.
    An argument of a wrong type is a TypeError that names it.
    """

    def __init__(self, path: str | bytes | os.PathLike[str] | None = None, *, create: bool = False) -> None:
        if path is None:
            path, is_home = layout.find()
            create = create or (is_home and not layout.is_spool(path))
        require("path", path, str, bytes, os.PathLike)
        self.layout = layout.Layout(os.path.abspath(os.fsdecode(path)))
        self.created = False
        self._settings: settings.Source | None = None
        self._endings: Endings | None = None
        if os.path.isdir(self.layout.root) and not os.access(self.layout.root, os.X_OK):
            raise _closed(self.layout.root)
        if create:
            self.created = layout.create(self.layout.root)
        elif layout.is_spool(self.layout.root):
            layout.complete(self.layout.root)
        else:
            raise _missing(self.layout.root)
        _ = self.shared  # decided here, before anything is done to its files

    @property
    def shared(self) -> bool:
        """Whether workers of several hosts may share it."""
        return self.layout.shared

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

    def enqueue(self, command: Command, *, extra: Mapping[str, Any] | None = None, **fields: Unpack[JobFields]) -> Job:
        """Queue one job; once this returns, the job survives a power cut.

        `command` is a string for /bin/sh, or a sequence of strings to run as it is. `fields` are those of a job
        (`id`, `priority`, `run_at`, `timeout`, `max_retries`, `cwd`, `env` and the others of `JobFields`), `extra` are
        fields of your own to keep with it. `run_at` may be a datetime or date (without a zone, local time) or a
        timedelta from now; it and `timeout`, `backoff_max`, `max_log` and the exit codes may be text as on the command
        line: `run_at="tomorrow 09:00"`, `timeout="10m"`. A command, `cwd` and `env` may be bytes. Without `cwd` the
        job runs in the current directory.

        Raises InvalidJobError (or another UsageError for such a text), AlreadyExistsError, SpoolError, or TypeError
        for an unknown keyword or a value of a wrong type.
        """
        from queuectl.spool import keywords

        keywords.check("enqueue", keywords.JobBody, {**fields, "command": command})
        outcome = next(self.enqueue_many([{**(extra or {}), **fields, "command": command}]))
        if isinstance(outcome, QueuectlError):
            raise outcome
        return outcome

    def enqueue_many(
        self, jobs: Iterable[Mapping[str, object]], *, is_held: bool = False
    ) -> Iterator[Job | QueuectlError]:
        """Queue many jobs, in durable groups; yields for each, in order, its job or its error.

        Each is a job's body: `command` and the fields that `enqueue` takes, with such values; others are kept with it.
        (Declared as `JobBody`, a type checker knows their types and refuses others.) A job that is yielded survives a
        power cut. A SpoolError, raised or yielded, means that the spool cannot take more; its job, or group, was not
        queued (but see DurabilityError). With `is_held` none of them starts before `release`.
        """
        require("jobs", jobs, Iterable)
        left = iter(jobs)
        while group := [_whole(fields) for fields in islice(left, submit.GROUP)]:
            whole = [fields for fields in group if not isinstance(fields, QueuectlError)]
            outcomes = iter(submit.submit(self.layout, whole, now(), is_held=is_held, swap=_SWAP))
            for fields in group:
                yield fields if isinstance(fields, QueuectlError) else next(outcomes)

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
        states: State | Iterable[State] = (State.RUNNING, State.PENDING, State.DEAD, State.DONE),
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
        require("limit", limit, int, None)
        for state in _states(states):
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

    def states(self, ids: Iterable[str]) -> dict[str, Job | None]:
        """The jobs of many whole ids, in their order and without bodies; None for one that the spool does not hold.

        From names alone, and by one listing of each directory.
        """
        require("ids", ids, Iterable)
        return states.states_of(self.layout, ids)

    def counts(self) -> query.Counts:
        return query.count(self.layout, now())

    def metrics(self, *, group: str = "") -> Metrics:
        """How long jobs (of a group) took, and how many ended how, of those that the spool still holds."""
        return metrics.measure(self.layout, now(), group)

    def workers(self) -> Iterator[dict[str, Any]]:
        """What each worker recorded about itself, with `alive`, its `state` (lease.state_of) and the ids it `runs`."""
        yield from workers.list_workers(self.layout, is_paused=self.is_paused())

    def hosts(self) -> builtins.list[HostState]:
        """The hosts of a spool that several share: those that work, or of which something is left; else none."""
        from queuectl.spool.reading import hosts

        return hosts.list_hosts(self.layout)

    def explain(self, id: str) -> Explanation:
        """Why a job is not running, and when it will; also for a file in pending/ that is not a job yet.

        Raises NotFoundError or AmbiguousIdError.
        """
        return explain.explain(self.layout, id, self.examine_settings())

    def output(self, id: str | Job, attempt: int | None = None) -> str:
        """What an attempt of the job has written so far, by default the last one; empty if none has started.

        Bytes that are not UTF-8 are escaped, as `\\xe9`; `log_path` has them. Raises NotFoundError for an attempt that
        the log does not have.
        """
        require("attempt", attempt, int, None)
        return output.read(self.layout, self._id(id), attempt)

    def logs(self, id: str | Job) -> builtins.list[AttemptLog]:
        """Each attempt in the job's log, from the first: when it started, under which worker, how it ended, and what it
        has written."""
        return output.read_all(self.layout, self._id(id))

    def log_path(self, id: str | Job) -> Path:
        """The job's log, which holds its output as it was written, and lines of queuectl's."""
        return self.path / f"logs/{id.id if isinstance(id, Job) else id}.log"

    def _id(self, id: str | Job) -> str:
        return id.id if isinstance(id, Job) else query.find(self.layout, id).id

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

    def cancel_all(self, ids: Iterable[str], *, grace: float | None = None) -> dict[str, Job | QueuectlError]:
        """`cancel` of many whole ids; for each its job, or why not: it had ended, for one (WrongStateError)."""
        found = self.settings
        return by_hand.cancel_all(self.layout, self.states(ids), found.grace if grace is None else grace, found.policy)

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

    def set_fields(self, id: str | Job, *, extra: Mapping[str, Any] | None = None, **fields: Unpack[JobChanges]) -> Job:
        """Change fields of a waiting job's body; None removes a field, or a variable of `env`; the id cannot change.

        Values are as for `enqueue`, `extra` are fields of your own.

        All but `priority` and `run_at` swap the job's file for a new one, in one step: a worker starts the old
        job or the new one. Raises InvalidJobError, or WrongStateError if the job has started.
        """
        from queuectl.spool import keywords

        keywords.check("set_fields", keywords.JobChanges, fields)
        return edit.set_fields(self.layout, id, from_python.to_body({**(extra or {}), **fields}, now()))

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

    def pause(self, reason: str = "", until: datetime | None = None, *, group: str = "") -> None:
        """Stop workers from starting jobs (of a group) until `until`, or until resumed; running jobs continue."""
        pause.write(self.layout, reason, until, group)

    def resume(self, *, group: str = "") -> bool:
        """End the pause, of the queue or of a group; whether there was one."""
        was_paused = pause.remove(self.layout, group)
        if group:
            files.ring(self.layout.bell)
        return was_paused

    def paused(self, *, group: str = "") -> Pause | None:
        """The pause in force, with its reason; None if there is none or it has expired."""
        return pause.read(self.layout, now, group)

    def is_paused(self) -> bool:
        return self.paused() is not None

    # --- waiting

    @overload
    def wait(self, id: str | Job, *, timeout: float | None = None) -> Job: ...  # type: ignore[overload-overlap]

    @overload
    def wait(self, id: Iterable[str | Job], *, any: Literal[True], timeout: float | None = None) -> Job: ...

    @overload
    def wait(self, id: Iterable[str | Job], *, timeout: float | None = None) -> builtins.list[Job]: ...

    def wait(
        self, id: str | Job | Iterable[str | Job], *, any: bool = False, timeout: float | None = None
    ) -> Job | builtins.list[Job]:
        """The job once it is done or dead; of several, a list of them, in their order, once all are.

        With `any` the first of several to end, alone. Raises WaitTimeoutError after `timeout` seconds, NotFoundError if
        one is deleted in the meantime, BrakedError if none can start before somebody resumes what has paused itself,
        and UsageError if this process is a part of one, or `any` has none to choose from.
        """
        waits = waiting.Waits(_several("id", id), is_one=isinstance(id, str | Job), is_any=any)
        return waits.run(self.layout, _seconds(timeout))

    @overload
    async def wait_async(self, id: str | Job, *, timeout: float | None = None) -> Job: ...  # type: ignore[overload-overlap]

    @overload
    async def wait_async(self, id: Iterable[str | Job], *, any: Literal[True], timeout: float | None = None) -> Job: ...

    @overload
    async def wait_async(self, id: Iterable[str | Job], *, timeout: float | None = None) -> builtins.list[Job]: ...

    async def wait_async(
        self, id: str | Job | Iterable[str | Job], *, any: bool = False, timeout: float | None = None
    ) -> Job | builtins.list[Job]:
        """As `wait`, for an event loop. All waits of this Spool share one thread. To cancel it cancels no job."""
        from queuectl.spool.reading import endings

        waits = waiting.Waits(_several("id", id), is_one=isinstance(id, str | Job), is_any=any)
        return await endings.wait(self.endings, self.layout, waits, _seconds(timeout))

    @property
    def endings(self) -> Endings:
        """Calls back as jobs end: one thread for a set that grows."""
        if self._endings is None:
            from queuectl.spool.reading.endings import Endings

            self._endings = Endings(self.layout)
        return self._endings

    def ends(self, ids: Iterable[str | Job], *, timeout: float | None = None) -> Iterator[Job | NotFoundError]:
        """Each of these jobs once it is done or dead, as they end (two at almost the same time in any order).

        A job that is deleted in the meantime yields a NotFoundError. Raises WaitTimeoutError after `timeout` seconds,
        UsageError if this process is a part of one of them.
        """
        jobs = [query.find(self.layout, id) for id in _several("ids", ids)]
        return waiting.ends(self.layout, jobs, _seconds(timeout))

    def wait_until_idle(self, timeout: float | None = None, *, group: str = "") -> None:
        """Wait until no job (of a group) is running, under any worker; raises WaitTimeoutError after `timeout` s.

        The job that this process is a part of does not count.
        """
        waiting.wait_until_idle(self.layout, timeout, group)

    def watch(self, jobs: Iterable[Job], *, logs: Iterable[str] = ()) -> waiting.Watch:
        """Watch jobs until they end, and logs for growth; for callers that do something else in between."""
        return waiting.Watch(self.layout, jobs, logs=logs)


def _seconds(timeout: float | None) -> float | None:
    require("timeout", timeout, int, float, None)
    return timeout


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


def require(name: str, value: object, *types: type | None) -> None:
    """Raise a TypeError that names the argument unless its value is of one of the types."""
    if not isinstance(value, tuple(kind or type(None) for kind in types)):
        wanted = " or ".join(kind.__name__ if kind else "None" for kind in types)
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def _several(name: str, ids: str | Job | Iterable[str | Job]) -> list[str | Job]:
    if isinstance(ids, str | Job):
        return [ids]
    require(name, ids, str, Job, Iterable)
    return list(ids)


def _states(given: State | Iterable[State]) -> list[State]:
    states = [given] if isinstance(given, str) else [*given]
    unknown = [state for state in states if state not in tuple(State)]
    if unknown:
        raise UsageError(f"not a state: {unknown[0]!r}", hint=f"states: {' '.join(State)}")
    return [State(state) for state in states]


def _whole(fields: Mapping[str, Any]) -> dict[str, Any] | QueuectlError:
    try:
        return with_directory(fields)
    except QueuectlError as error:
        return error


def with_directory(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A body with its values as they are in a file, and the current directory unless it names one.

    Raises UsageError for a text that is not a time or duration, or if there is no current directory.
    """
    require("job", fields, Mapping)
    whole = from_python.to_body({key: value for key, value in fields.items() if value is not None}, now())
    cwd = whole.get("cwd", "")
    if not isinstance(cwd, str) or cwd.startswith("/"):
        return whole
    try:
        relative = charset.encode(cwd, whole.get("charset"))
    except UnicodeEncodeError:
        return whole  # for the check to refuse
    return charset.to_body({**whole, "cwd": os.path.normpath(os.path.join(layout.working_directory(), relative))})


def _matches(job: Job, text: str) -> bool:
    command = job.command or ""
    return text in job.id or text in (command if isinstance(command, str) else " ".join(command))
