"""How large the output of an attempt may grow.

The job writes into its log itself, so it cannot be stopped at an exact byte. Instead the size is checked, often enough,
and the space of the middle of its output is given back: the first and the last half of the limit stay. The lines of
queuectl stay too, because they precede and follow the output. One does not: the note that the attempt is being ended,
after which its command may write on until it is killed. It says that the end was not the job's own, so nothing is given
back from that note on until the worker's end line is there. CRASH: nothing is ever moved or cut off, so at every
instant the log says what it said before (tests/work/test_log_limit.py).
"""

from __future__ import annotations

import os
from enum import Enum, auto

from queuectl.spool.system import holes, logs

_FIRST_LOOK = 0.05
_SHORTEST, _LONGEST = 0.02, 0.25
_BLOCK = 4096


class Step(Enum):
    """What a look at a log led to."""

    NOTHING = auto()
    DROPPED = auto()
    MUST_END = auto()  # the job is to be ended


class LogLimit:
    """The limit of one attempt, whose output begins at `offset` of its log. Times are monotonic seconds."""

    def __init__(self, limit: int, kills: bool, offset: int, now: float, log: int | None = None) -> None:
        """With `log`, what an earlier worker has dropped of this attempt is taken into account."""
        self.limit = limit
        self.kills = kills
        self.check_at = now + _FIRST_LOOK
        self.has_passed = False
        self._offset = offset
        self._hole = holes.find(log, offset, os.fstat(log).st_size) if log is not None else None
        self._note_at: int | None = None
        self._seen = 0
        self._seen_at = now

    def check(self, log: int, now: float, *, is_ending: bool = False) -> Step:
        """Drop what is beyond the limit, while a job is being ended only up to the note of that; what is to be done."""
        size = os.fstat(log).st_size
        kept = size - self._offset - (self._hole[1] - self._hole[0] if self._hole else 0)
        self._plan(size, kept, now)
        if kept <= self.limit:
            return Step.NOTHING
        self.has_passed = True
        is_dropped = self.drop(log, size, keeps_note=is_ending)
        return Step.DROPPED if is_dropped and not self.kills else Step.MUST_END

    def drop(self, log: int, size: int | None = None, *, keeps_note: bool = False) -> bool:
        """Give back the space of the middle; False where the file system has no holes.

        With `keeps_note` none from a note on that the attempt is being ended.
        """
        size = os.fstat(log).st_size if size is None else size
        block = max(_BLOCK, os.fstat(log).st_blksize)
        start = self._hole[0] if self._hole else -(-(self._offset + self.limit // 2) // block) * block
        end = (size - self.limit // 2) // block * block
        begin = self._hole[1] if self._hole else start
        if keeps_note and self._note_at is None and end > begin:
            self._note_at = logs.find_ending(log, begin, end)
        if keeps_note and self._note_at is not None:
            end = min(end, self._note_at // block * block)
        if end <= begin:
            return True
        if not holes.punch(log, start, end):
            return False
        self._hole = start, end
        return True

    def _plan(self, size: int, kept: int, now: float) -> None:
        """Look again when half of the room may have been used up, going by how fast it grew."""
        rate = (size - self._seen) / max(now - self._seen_at, 0.001)
        room = self.limit - kept if kept <= self.limit else self.limit / 2
        self.check_at = now + min(_LONGEST, max(_SHORTEST, room / rate / 2 if rate > 0 else _LONGEST))
        self._seen, self._seen_at = size, now
