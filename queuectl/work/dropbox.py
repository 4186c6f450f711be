"""The worker's side of the drop box: a thread of its own takes what lies in inbox/, and finishes what was taken.

Nothing that another user puts there reaches the main thread or keeps a slot waiting: this thread alone opens such
files, writes durably and waits for disks. Its work is bounded: so many names at a look, a twentieth of a CPU (a
quarter for what becomes jobs), so many files of each user remembered and reported. Its events come from a watch of
its own, which is closed for a while when they come too fast; so a flood costs a steady little, and a file among it is
found by the listing, which continues where the last look stopped.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from queuectl.core.names import is_ignored
from queuectl.errors import NotJsonError, SpoolError
from queuectl.spool.moves import outbox, take
from queuectl.spool.moves.take import UnfitError
from queuectl.spool.system import trust
from queuectl.spool.system.trigger import Trigger
from queuectl.work.context import Context
from queuectl.work.incomplete import QUIET, Incomplete
from queuectl.work.keys import SWAP
from queuectl.work.settle import notify_refused

_MOST = 500  # names at a look, of them
_MOST_RUNG = 300  # from events
_GROUP = 100  # files made durable together
_SHARE = 20  # of a CPU, looking takes a twentieth at most
_SHARE_OF_WORK = 4  # and a quarter what makes jobs of all that it looks at
_LONGEST_REST = 60.0
_MOST_EVENTS = 2_000  # between two looks; beyond that the watch is closed for so many seconds:
_FLOOD = 10.0
_BLIND_RELIST = 1.0  # seconds between listings when no event will come
_TRY_AGAIN = 1.0
_MOST_OF_USER = 500  # files of each user that are remembered because they cannot be taken
_MOST_REPORTED = 10  # of them that are reported one by one, in so many seconds:
_REPORTED_AGAIN = 3600.0
_FIRST_LOOK = 10.0  # seconds that a worker which drains waits for it at most


class _User:
    """Files of one user that could not be taken: waited for, or left there as they were seen."""

    __slots__ = ("left", "reported", "reported_since", "waiting")

    def __init__(self) -> None:
        self.waiting = Incomplete()
        self.left: dict[str, object] = {}
        self.reported = 0
        self.reported_since = float("-inf")

    def keep_only(self, names: set[str]) -> None:
        self.waiting.keep_only(names)
        self.left = {name: seen for name, seen in self.left.items() if name in names}

    def forget(self, name: str) -> None:
        self.waiting.forget(name)
        self.left.pop(name, None)

    @property
    def number(self) -> int:
        return len(self.waiting) + len(self.left)


class Dropbox:
    """`look`, `is_first_look_over` and `close` are for the main thread.

    `appeared` is called with the path of each job that was made, `wake` when the first look is over; both from
    another thread.
    """

    def __init__(self, context: Context, appeared: Callable[[str], None], wake: Callable[[], None]) -> None:
        self._context = context
        self._layout = context.spool.layout
        self._outbox = context.outbox
        self._outbox.ring = self._ring_outbox
        self._appeared, self._wake = appeared, wake
        self._thread: threading.Thread | None = None
        self._begun_at: float | None = None
        self._has_looked = False
        # What follows is shared with the main thread and the watch's.
        self._changed = threading.Condition()
        self._rung: dict[str, bool] = {}  # names, and whether they were renamed there
        self._events = 0
        self._must_list = False
        self._is_closed = False
        # And this is the thread's own.
        self._trigger: Trigger | None = None
        self._blind_until = self._rest_until = self._listed_at = float("-inf")
        self._listing: Iterator[os.DirEntry[str]] | None = None
        self._has_listed = False  # all of it, once
        self._seen: set[str] = set()  # the remembered ones that were looked at since the listing under way began
        self._users: dict[int, _User] = {}
        self._looked_at = self._made = 0  # files by the last look, and what has come of them

    # --- for the main thread

    def look(self) -> None:
        """Start to look at everything; does nothing without a drop box."""
        if self._is_closed or self._context.stopping or not os.path.isdir(self._layout.inbox):
            return
        self._outbox.must_look()
        with self._changed:
            self._must_list = True
            self._changed.notify_all()
        if self._thread is not None and self._thread.is_alive():
            return
        if self._begun_at is None:
            self._begun_at = time.monotonic()
        thread = threading.Thread(target=self._run, name="inbox", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # as many threads as this user, or the container, may have
            self._context.report.once("inbox", "warning", f"cannot take files from inbox/: {error}")
            return
        self._thread = thread

    @property
    def is_first_look_over(self) -> bool:
        """Whether what lay there when the worker started is pending by now. It is waited for only so long."""
        is_over = self._begun_at is None or self._has_looked
        return is_over or time.monotonic() > (self._begun_at or 0.0) + _FIRST_LOOK

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(2)

    # --- for the watch's thread

    def _ring(self, path: str | None, *, is_placed: bool = False) -> None:
        name = os.path.basename(path or "")
        with self._changed:
            self._events += 1
            if path is None or len(self._rung) >= _MOST:
                self._must_list = True
            elif not is_ignored(name):
                self._rung[name] = is_placed
            self._changed.notify_all()

    def _ring_moved(self, path: str) -> None:
        self._ring(path, is_placed=True)

    def _ring_outbox(self) -> None:
        """Called by slots."""
        with self._changed:
            self._changed.notify_all()

    # --- the thread: when

    def _run(self) -> None:
        report = self._context.report
        try:
            while self._wait():
                begun = time.thread_time()
                try:
                    self._watch()
                    if time.monotonic() >= self._rest_until:
                        self._look()
                        report.over("inbox", "files can be taken from inbox/ again")
                except (OSError, SpoolError) as error:
                    report.once("inbox", "warning", f"cannot take files from inbox/: {error}")
                    self._listing, self._must_list = None, True
                    self._rest(_TRY_AGAIN)
                self._rest(min((time.thread_time() - begun) * self._share(), _LONGEST_REST))
                self._say_what_became()
        finally:
            with suppress(OSError, SpoolError):
                self._outbox.finish(self._layout)
            if self._trigger is not None:
                self._trigger.close()

    def _say_what_became(self) -> None:
        report = self._context.report
        try:
            self._outbox.look(self._layout)
            report.over("outbox", "outbox/ can be written again")
        except (OSError, SpoolError) as error:
            report.once("outbox", "warning", f"cannot say in outbox/ what became of jobs: {error}")
            self._outbox.try_again()

    def _share(self) -> float:
        """How many times as long as the last look has worked it rests, by how much has come of it."""
        idle = 1 - min(1.0, self._made / max(1, self._looked_at))
        return _SHARE_OF_WORK + idle * (_SHARE - _SHARE_OF_WORK)

    def _rest(self, seconds: float) -> None:
        self._rest_until = max(self._rest_until, time.monotonic() + seconds)

    def _wait(self) -> bool:
        """Until there is something to do and time to do it; False once the worker stops."""
        with self._changed:
            while not (self._is_closed or self._context.stopping):
                now = time.monotonic()
                if self._is_flooded:
                    return True
                at = self._next_look(now)
                if at <= now:
                    return True
                self._changed.wait(min(at - now, _REPORTED_AGAIN))
            return False

    def _next_look(self, now: float) -> float:
        times = [user.waiting.next_look() or float("inf") for user in self._users.values()]
        if self._rung or self._must_list or self._listing is not None:
            times.append(now)
        if self._trigger is None or self._trigger.problem is not None:
            times.append(self._listed_at + _BLIND_RELIST)
        return min(max(min(times, default=float("inf")), self._rest_until), self._outbox.next_look())

    # --- the thread: its events

    @property
    def _is_flooded(self) -> bool:
        return self._events > _MOST_EVENTS and self._trigger is not None

    def _watch(self) -> None:
        """Open the watch, or close it while events come too fast."""
        now = time.monotonic()
        with self._changed:
            is_flooded, self._events = self._is_flooded, 0
        if is_flooded and self._trigger is not None:
            self._trigger.close()
            self._trigger, self._blind_until = None, now + _FLOOD
            text = "files arrive in inbox/ faster than they can be read; listing it from time to time instead"
            self._context.report.once("inbox flood", "warning", text)
        elif self._trigger is None and now >= self._blind_until:
            self._trigger = Trigger(self._layout, self._ring, (self._layout.inbox,), self._ring_moved)
        elif self._trigger is not None and not self._trigger.is_alive and self._trigger.problem is None:
            self._trigger.open()
        else:
            return
        self._must_list = True  # for what came while there was no watch

    # --- the thread: looking

    def _look(self) -> None:
        """Look at some of the files that are known to be there, and make jobs of them."""
        self._allowed = trust.find_users(self._context.settings.allow_users or "")
        self._made = 0
        names = self._next_names()
        self._looked_at = len(names)
        from_: dict[str, str] = {}
        for number, (name, is_placed) in enumerate(names.items(), 1):
            if self._context.stopping:
                return
            id = None if not is_placed and self._is_busy(name) else self._try(name)
            if id is not None:
                from_[id] = name
            if from_ and (len(from_) == _GROUP or number == len(names)):
                self._finish(from_)
                from_ = {}
        self._finish(from_)
        if self._has_listed and not self._has_looked and not self._is_expecting:
            self._has_looked = True
            self._wake()

    @property
    def _is_expecting(self) -> bool:
        """Whether a file may be taken within a moment."""
        soon = time.monotonic() + QUIET
        return any((user.waiting.next_look() or float("inf")) <= soon for user in self._users.values())

    def _next_names(self) -> dict[str, bool]:
        """What events reported, what is to be looked at again, and as many of the listing as there is room for; and
        whether each was renamed there."""
        with self._changed:
            rung = {name: self._rung.pop(name) for name in [*islice(self._rung, _MOST_RUNG)]}
        now = time.monotonic()
        names: list[str] = []
        for user in self._users.values():
            room = _MOST - len(rung) - len(names)
            names += user.waiting.due(now, min(room, _MOST // 10))
        names += self._list_some(max(_MOST - len(rung) - len(names), _MOST // 5))
        return dict.fromkeys(names, False) | rung

    def _list_some(self, most: int) -> list[str]:
        """The next names of the listing under way, started again when it must be; what was taken is finished first."""
        if self._listing is None:
            if not self._must_list and self._trigger is not None and self._trigger.problem is None:
                return []
            self._must_list = False
            self._finish(dict.fromkeys(take.list_taken(self._layout, _GROUP), ""))
            for user in self._users.values():
                user.keep_only(self._seen)  # by the listing before
            self._listing, self._seen = os.scandir(self._layout.inbox), set()
        names = []
        for _ in range(most):
            entry = next(self._listing, None)
            if entry is None:
                self._listing, self._listed_at, self._has_listed = None, time.monotonic(), True
                break
            if not is_ignored(entry.name):
                names.append(entry.name)
        return names

    def _finish(self, from_: dict[str, str]) -> None:
        """Make jobs of what was taken; from where, if that is known."""
        for id in from_:
            self._outbox.expect(id)
        for done in take.finish(self._layout, list(from_), self._context.now(), SWAP) if from_ else ():
            place = f"inbox/{from_[done.id]}".rstrip("/")
            self._made += 1
            if done.job is not None:
                text = f"from {place}, handed in by {done.job.submitted_by}"
                self._context.report.event("taken", done.id, text, file=from_[done.id] or None)
                self._outbox.made(done.job.state, done.job.name)
                self._appeared(done.job.path)
            else:
                text = f"{place} is not a valid job: {done.reason}"
                self._context.report.event("refused", done.id, text, file=from_[done.id] or None)
                self._outbox.must_look()
                notify_refused(self._context, done.id)

    def _is_allowed(self, uid: int) -> bool:
        return self._context.trusts(uid) or self._allowed.allows(uid)

    def _is_busy(self, name: str) -> bool:
        """Whether the file's owner may return to it, as for one in pending/; it is then waited for."""
        path = f"{self._layout.inbox}/{name}"
        try:
            user = self._users.setdefault(os.lstat(path).st_uid, _User())
        except OSError:
            return False
        self._seen.add(name)
        if name not in user.waiting and user.number >= _MOST_OF_USER:
            return False
        return user.waiting.is_busy(name, path, time.monotonic(), time.time())

    def _try(self, name: str) -> str | None:
        """Take one file, or keep waiting for it; the id that it has in taken/."""
        try:
            id = take.take(self._layout, name, self._is_allowed)
        except NotJsonError as error:
            reason = ": ".join(part for part in (error.what, error.why) if part)
            return self._put_off(name, reason, may_be_taken=True)
        except UnfitError as error:
            return self._put_off(name, error.what, may_be_taken=False)
        for user in self._users.values():
            user.forget(name)
        return id

    def _put_off(self, name: str, reason: str, *, may_be_taken: bool) -> str | None:
        """Wait for a file that cannot be taken, and in the end take it to be refused, or say so and leave it there."""
        path = f"{self._layout.inbox}/{name}"
        try:
            status = os.lstat(path)
        except OSError:
            return None
        user = self._users.setdefault(status.st_uid, _User())
        signature = (status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns)
        if name not in user.waiting and user.left.get(name) != signature and user.number >= _MOST_OF_USER:
            self._report_left(status.st_uid, user, name, "")
            return None
        self._seen.add(name)
        if user.left.get(name) == signature:
            return None
        user.left.pop(name, None)
        if user.waiting.wait(name, path, time.monotonic(), self._context.settings.settle):
            return None
        user.waiting.forget(name)
        if may_be_taken:
            try:
                return take.take(self._layout, name, self._is_allowed, is_whole=False)
            except UnfitError as error:
                reason = error.what
        user.left[name] = signature
        self._report_left(status.st_uid, user, name, reason)
        return None

    def _report_left(self, uid: int, user: _User, name: str, reason: str) -> None:
        """Report a file that cannot be taken, here and to its owner; after some of one user, that there are more."""
        now = time.monotonic()
        if now - user.reported_since > _REPORTED_AGAIN:
            user.reported, user.reported_since = 0, now
        if not reason:
            user.reported = max(user.reported, _MOST_REPORTED)
        user.reported += 1
        if user.reported <= _MOST_REPORTED:
            self._context.report.event("warning", None, f"inbox/{name} was left in place: {reason}")
            with suppress(OSError):
                outbox.leave(self._layout, take.user_of(take.submitter_of(uid)), name, reason)
        elif user.reported == _MOST_REPORTED + 1:
            text = f"more files of {trust.name_of(uid)} were left in inbox/; see: queuectl doctor"
            self._context.report.event("warning", None, text)
