"""The names in outbox/, which say what has become of jobs that other users have handed in: `alice.k7f3…-done-exit0`."""

from __future__ import annotations

import re

from queuectl.core.names import FinishedName, Name
from queuectl.core.result import State
from queuectl.tuples import NamedTuple

TAKEN, GONE, LEFT = "taken", "gone", "left"
"""Not a job yet; a job that is not in the spool any more, and whose end nobody saw; a file that stays in inbox/."""

_FORM = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9_-]*\.[a-z0-9]{12})-"
    r"(taken|gone|left|pending|running|(?:done|dead)-([a-z]+[0-9]*))",
    re.ASCII,
)  # fmt: skip


class Entry(NamedTuple):
    """What an entry says: the id, and what its job is. `said` is one of the words above, a state, or `done-RESULT`."""

    id: str
    said: str

    def __str__(self) -> str:
        return f"{self.id}-{self.said}"

    @classmethod
    def parse(cls, text: str) -> Entry | None:
        match = _FORM.fullmatch(text)
        return cls(match[1], match[2]) if match else None

    @classmethod
    def of(cls, state: State, name: Name) -> Entry:
        """That of a job."""
        return cls(name.id, f"{state}-{name.result}" if isinstance(name, FinishedName) else str(state))

    @property
    def has_ended(self) -> bool:
        return self.said.startswith(("done-", "dead-"))
