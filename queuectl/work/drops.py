"""The worker's side of files dropped into pending/: adopt what is whole, wait for the rest, refuse what is broken.

What was renamed or linked into pending/ is looked at at once. What was written there is left alone until it has been
quiet for a moment (incomplete.QUIET): tools return by name to a file that they have just written (chmod, utime), or
remove it.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator

from queuectl.core import body
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.errors import InvalidJobError, NotJsonError
from queuectl.spool.moves import adopt
from queuectl.spool.reading import query
from queuectl.spool.system import files
from queuectl.work import incomplete
from queuectl.work.context import Context
from queuectl.work.keys import SWAP
from queuectl.work.settle import notify_refused


class Drops:
    """For the main thread only. A name in it is not to be claimed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._layout = context.spool.layout
        self._incomplete = incomplete.Incomplete()

    def __contains__(self, name: str) -> bool:
        return name in self._incomplete

    def __iter__(self) -> Iterator[str]:
        return iter(self._incomplete)

    def due(self) -> list[str]:
        """The names to look at again now."""
        return self._incomplete.due(time.monotonic())

    @property
    def is_soon(self) -> bool:
        """Whether a file is waited for that may become a job within a moment."""
        at = self._incomplete.next_look()
        return at is not None and at <= time.monotonic() + incomplete.QUIET

    def next_look(self) -> float | None:
        """When the next is due, in monotonic seconds."""
        return self._incomplete.next_look()

    def keep_only(self, names: set[str]) -> None:
        """Forget files that a listing did not find."""
        self._incomplete.keep_only(names)

    def look_at(self, names: list[str], placed: Container[str] = ()) -> list[str]:
        """`look` at several, of which some were renamed there; the canonical names of those that can be claimed."""
        locate = adopt.locate_returned(names)
        found = (self.look(name, locate, is_placed=name in placed) for name in names)
        return [canonical for canonical in found if canonical is not None]

    def look(self, name: str, locate: query.Locate = query.locate, *, is_placed: bool = False) -> str | None:
        """Adopt, refuse or keep waiting for one file; its canonical name once it can be claimed."""
        path = self._layout.job(State.PENDING, name)
        if not is_placed and self._incomplete.is_busy(name, path, time.monotonic(), time.time()):
            return None
        now = self._context.now()
        try:
            adopted = (
                self._check(name)
                if PendingName.parse(name)
                else adopt.adopt(self._layout, name, now, self._context.trusts, locate, SWAP)
            )
        except NotJsonError as error:
            self._wait(name, ": ".join(part for part in (error.what, error.why) if part))
            return None
        except InvalidJobError as error:
            self._refuse(name, error.why)
            return None
        except OSError as error:
            self._wait(name, f"cannot be read: {error.strerror}")
            return None
        self._incomplete.forget(name)
        if adopted is None:
            return None
        if str(adopted) != name:
            self._context.report.event("adopted", adopted.id, f"from {name}", file=name)
        return str(adopted)

    def _check(self, name: str) -> PendingName | None:
        """A file with a canonical name that was incomplete, or has just been written."""
        try:
            body.parse(files.read(self._layout.job(State.PENDING, name)).data)
        except FileNotFoundError:
            return None
        except files.NotRegularError as error:
            raise InvalidJobError([str(error.strerror)]) from None
        return PendingName.parse(name)

    def _wait(self, name: str, reason: str) -> None:
        path = self._layout.job(State.PENDING, name)
        settle = self._context.settings.settle
        if not self._incomplete.wait(name, path, time.monotonic(), settle):
            self._refuse(name, f"{reason}; unchanged for {settle:g} s")

    def _refuse(self, name: str, reason: str) -> None:
        try:
            id = adopt.refuse(self._layout, name, reason, self._context.now())
        except OSError as error:
            self._incomplete.shelve(name, time.monotonic())
            text = f"ignoring pending/{name}: {reason}; it cannot be moved: {error.strerror}"
            self._context.report.once(f"refuse {name}", "warning", text)
            return
        self._incomplete.forget(name)
        if id is not None:
            self._context.report.event("refused", id, f"pending/{name} is not a valid job: {reason}", file=name)
            notify_refused(self._context, id)
