"""Why an id cannot be had, other than that a job has it."""

from __future__ import annotations

from queuectl.errors import AlreadyExistsError


class IdInFlightError(AlreadyExistsError):
    """A job of this id is being submitted right now, or is running."""


class UnwantedError(AlreadyExistsError):
    """The job of this id was submitted by another process before the id was reserved."""
