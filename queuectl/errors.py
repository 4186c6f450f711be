"""Every error that queuectl raises, in one tree; each class knows its exit code.

A message is at most three short lines: what is wrong, why, what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class QueuectlError(Exception):
    """Base of all errors: `what` happened, `why`, and a `hint` at what to do next."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.hint) if line)


class UsageError(QueuectlError):
    """Invalid arguments or values."""

    exit_code = 2


class InvalidJobError(UsageError):
    """A complete JSON object that is not a runnable job; `problems` lists everything that is wrong."""

    def __init__(self, problems: Sequence[str], hint: str = "") -> None:
        super().__init__("this is not a runnable job", "; ".join(problems), hint)
        self.problems = tuple(problems)


class NotJsonError(UsageError):
    """Bytes that are not (yet) exactly one JSON object; more bytes may still make them one."""


class AmbiguousIdError(UsageError):
    """A shortened id or worker name that matches more than one."""


class ConfigError(UsageError):
    """An unknown setting, or an invalid value for one."""


class NotFoundError(QueuectlError):
    """No job (or worker) of that name; `id` is that of a job that was deleted while it was waited for."""

    exit_code = 3

    def __init__(self, what: str, why: str = "", hint: str = "", *, id: str | None = None) -> None:
        super().__init__(what, why, hint)
        self.id = id


class AlreadyExistsError(QueuectlError):
    """The id names another job of this spool."""

    exit_code = 4


class BrakedError(QueuectlError):
    """All that was waited for stands behind a pause that `max-failed` has made."""


class WaitTimeoutError(QueuectlError):
    """The condition did not become true in time."""

    exit_code = 5


class WrongStateError(QueuectlError):
    """The job is in a state that does not allow this."""


class SpoolError(QueuectlError):
    """The spool cannot be used: missing, not permitted, full or read-only."""

    exit_code = 6


class DurabilityError(SpoolError):
    """It is unknown whether the change would survive a power cut. It may have been made."""
