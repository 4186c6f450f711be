"""A job as seen at one moment: its state, its file's name and, if it was read, its body."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar, dataclass_transform

from queuectl.core.fields import Body
from queuectl.core.names import FinishedName, Name, PendingName, RunningName, format_rfc3339
from queuectl.core.result import Result, State

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def _frozen(kind: type[T]) -> type[T]:
    """For type checkers: the attributes of such a class cannot be set."""
    return kind


@_frozen
class Job:
    """What the file's name says, and its body (None if it was not read or is invalid). It does not change.

    `path` is where the file was when it was read; a worker may have moved it since. `problem` is why its body is
    invalid. `owner` is the owner of the file, if that was checked and is not the spool's owner. `is_stopped` is whether
    a signal has stopped all that runs of it, if that was checked. `progress` is what it reports of itself, if that was
    read.
    """

    __slots__ = ("body", "fields", "is_stopped", "name", "owner", "path", "problem", "progress", "state")

    state: State
    name: Name
    path: str
    body: Body | None
    fields: dict[str, Any] | None
    problem: str | None
    owner: str | None
    is_stopped: bool
    progress: str | None

    def __init__(
        self,
        state: State,
        name: Name,
        path: str,
        body: Body | None = None,
        fields: dict[str, Any] | None = None,
        problem: str | None = None,
        owner: str | None = None,
        is_stopped: bool = False,
        progress: str | None = None,
    ) -> None:
        # As fast to make as a named tuple, of which a listing makes a million; a frozen dataclass takes twice as long.
        _set_state(self, state)
        _set_name(self, name)
        _set_path(self, path)
        _set_body(self, body)
        _set_fields(self, fields)
        _set_problem(self, problem)
        _set_owner(self, owner)
        _set_is_stopped(self, is_stopped)
        _set_progress(self, progress)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Job does not change: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Job does not change: cannot delete {name!r}")

    def _values(self) -> tuple[Any, ...]:
        mine = self.state, self.name, self.path, self.body, self.fields, self.problem, self.owner
        return *mine, self.is_stopped, self.progress

    def __reduce__(self) -> tuple[type[Job], tuple[Any, ...]]:
        return Job, self._values()

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Job) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.state, self.path))

    def __repr__(self) -> str:
        said = {"id": self.id, "state": str(self.state), "attempts": self.attempts}
        if self.result is not None:
            said["result"] = str(self.result)
        if self.problem is not None:
            said["problem"] = self.problem
        if self.command is not None:
            said["command"] = self.command
        return f"Job({', '.join(f'{name}={_short(repr(value))}' for name, value in said.items())})"

    def as_stopped(self) -> Job:
        """The same job, known to be stopped."""
        return self._with(is_stopped=True, progress=self.progress)

    def with_progress(self, text: str) -> Job:
        """The same job, with what it reports of itself."""
        return self._with(is_stopped=self.is_stopped, progress=text)

    def _with(self, *, is_stopped: bool, progress: str | None) -> Job:
        return Job(
            self.state, self.name, self.path, self.body, self.fields, self.problem, self.owner, is_stopped, progress
        )

    @property
    def id(self) -> str:
        return self.name.id

    @property
    def command(self) -> str | tuple[str, ...] | None:
        return self.body.command if self.body else None

    @property
    def submitted_by(self) -> str | None:
        """The user who handed it in through inbox/; None for the spool's own jobs."""
        if self.body is not None:
            return self.body.submitted_by
        claimed = (self.fields or {}).get("submitted_by")  # of a refused job
        return claimed if isinstance(claimed, str) else None

    @property
    def priority(self) -> int:
        return self.name.priority

    @property
    def attempts(self) -> int:
        """Attempts made; for a running job the number of the current one."""
        return self.name.attempt if isinstance(self.name, RunningName) else self.name.attempts

    @property
    def run_at(self) -> datetime | None:
        """When a pending job may start; None while it is held, or waits for others."""
        if not isinstance(self.name, PendingName) or self.name.is_held or self.name.is_waiting:
            return None
        return self.name.run_at

    @property
    def is_held(self) -> bool:
        """Whether it is pending and waits to be released."""
        return isinstance(self.name, PendingName) and self.name.is_held

    @property
    def is_waiting(self) -> bool:
        """Whether it is pending and waits for other jobs."""
        return isinstance(self.name, PendingName) and self.name.is_waiting

    @property
    def started_at(self) -> datetime | None:
        """When the running attempt started."""
        return self.name.started_at if isinstance(self.name, RunningName) else None

    @property
    def worker(self) -> str | None:
        return self.name.worker if isinstance(self.name, RunningName) else None

    @property
    def finished_at(self) -> datetime | None:
        return self.name.finished_at if isinstance(self.name, FinishedName) else None

    @property
    def result(self) -> Result | None:
        return self.name.result if isinstance(self.name, FinishedName) else None

    @property
    def duration(self) -> float | None:
        """Seconds that a finished job's last attempt took."""
        return self.name.duration if isinstance(self.name, FinishedName) else None

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`: times RFC 3339 UTC, durations in seconds."""
        result = self.result
        return {
            "id": self.id,
            "state": str(self.state),
            "priority": self.priority,
            "attempts": self.attempts,
            "held": self.is_held,
            "waiting": self.is_waiting,
            "stopped": self.is_stopped,
            "progress": self.progress,
            "run_at": format_rfc3339(self.run_at),
            "started_at": format_rfc3339(self.started_at),
            "finished_at": format_rfc3339(self.finished_at),
            "worker": self.worker,
            "result": str(result) if result else None,
            "exit_code": result.code if result and result.kind == "exit" else None,
            "duration": self.duration,
            "submitted_by": self.submitted_by,
            "owner": self.owner,
            "path": self.path,
            "body": self.fields,
            "problem": self.problem,
        }


class ExistingJob(Job):
    """A job that was there already, and that a submit returns in place of a new one, as it has its key or its id.

    `is_replaced` is whether it has the new body now, `key` the key of both; None if they have but the id in common.
    """

    __slots__ = ("is_replaced", "key")

    is_replaced: bool
    key: str | None

    @classmethod
    def of(cls, job: Job, *, is_replaced: bool, key: str | None = None) -> ExistingJob:
        existing = cls(job.state, job.name, job.path, job.body, job.fields, job.problem, job.owner)
        object.__setattr__(existing, "is_replaced", is_replaced)
        object.__setattr__(existing, "key", key)
        return existing


_set_state, _set_name, _set_path, _set_body, _set_fields, _set_problem, _set_owner, _set_is_stopped, _set_progress = (
    getattr(Job, name).__set__
    for name in ("state", "name", "path", "body", "fields", "problem", "owner", "is_stopped", "progress")
)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
