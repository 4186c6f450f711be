"""The trigger: events of the file system (watchdog) in pending/, the spool's root, or other places.

An event may be a false alarm or may be lost; nothing depends on events but how soon a worker looks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from selectors import EVENT_READ, BaseSelector
from typing import TYPE_CHECKING

from queuectl.spool.system.layout import Layout

if TYPE_CHECKING:
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

Ring = Callable[[str | None], None]
"""Called with the path of a file that appeared, or None to mean "look at everything"."""


class Trigger:
    """Watches a spool until closed. If it cannot, `problem` says why.

    `places` are the directories in which files appear and vanish, and the files that grow; by default
    pending/ and the root. They may be reached through symbolic links. `moved` is called instead of `ring`, where the
    system can tell, with the path of a file that a rename has put there, to which its writer seems not to return; with
    it, changes of attributes ring too.

    Both are called from another thread; or, with a `selector`, by `hear`, for which that is ready with the trigger as
    the data of its key.
    """

    def __init__(
        self,
        layout: Layout,
        ring: Ring,
        places: Sequence[str] | None = None,
        moved: Callable[[str], None] | None = None,
        selector: BaseSelector | None = None,
    ) -> None:
        self._places = (layout.pending, layout.root) if places is None else places
        self._ring, self._moved = ring, moved
        self._selector = selector
        self._watched: dict[str, str] = {}
        self._reader: InotifyFD | None = None
        self._is_whole = False  # whether none of its watches has gone
        self.problem: str | None = None
        self.is_blind = layout.shared
        """Whether what other hosts do may cause no events."""
        self.overflows = 0  # how often the kernel has dropped events because too many were queued
        self.open()

    def open(self) -> None:
        """Start watching, or record in `problem` why that fails; may be called again later."""
        self.close()
        self._watched = self._resolve()
        self._is_whole = True
        try:
            self._reader = _make_reader(self._watched, self._ring, self._moved, self._overflow, self._lose)
            if self._selector is None:
                self._reader.start()
            else:
                self._selector.register(self._reader._inotify_fd, EVENT_READ, self)
            self.problem = None
        except Exception as error:  # what the system's library raises: OSError, ImportError, watchdog's own, no thread
            self.problem = f"{type(error).__name__}: {error}"

    def hear(self) -> None:
        """Ring for what has happened; waits for something if nothing has."""
        reader = self._reader
        if reader is not None:
            for event in reader.read_events():
                reader.handle_event(event)

    @property
    def is_alive(self) -> bool:
        """Whether the thread that events need is running, and what is watched is what the paths lead to."""
        reader = self._reader
        if reader is None or not (self._selector or reader.is_alive()):
            return False
        return self._is_whole and self._watched == self._resolve()

    def _resolve(self) -> dict[str, str]:
        """The places without symbolic links, each with its path as it was given: the watch would not follow them."""
        return {os.path.realpath(place): place for place in self._places}

    def _overflow(self) -> None:
        self.overflows += 1
        self._ring(None)

    def _lose(self) -> None:
        self._is_whole = False

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        if self._selector is not None:
            self._selector.unregister(reader._inotify_fd)
        reader.stop()
        with suppress(RuntimeError):
            reader.join(timeout=2)


def _make_reader(
    places: Mapping[str, str],
    ring: Ring,
    moved: Callable[[str], None] | None,
    overflow: Callable[[], None],
    lose: Callable[[], None],
) -> InotifyFD:
    """Watch the keys of `places`; their values are what the paths of events begin with.

    Of watchdog only what reads events is used: its observers (7.1.0) delay an IN_MOVED_FROM (every claim is one), and
    every event behind it, by 0.5 s while waiting for its IN_MOVED_TO, so that event is not requested here
    (tests/spool/system/test_trigger.py); and they pass each event through two more threads, which would be most of the
    time until a job starts. `overflow` is called when the kernel's event queue was full, `lose` when a place is gone.
    """
    from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyFD, Mask

    events = Mask(
        InotifyConstants.IN_MOVED_TO
        | InotifyConstants.IN_CREATE  # a hard link, as `enqueue` makes it, is only this
        | InotifyConstants.IN_CLOSE_WRITE
        | InotifyConstants.IN_DELETE
        | InotifyConstants.IN_DELETE_SELF
        | InotifyConstants.IN_ONLYDIR
        | (InotifyConstants.IN_ATTRIB if moved else 0)
    )
    growth = Mask(InotifyConstants.IN_MODIFY | InotifyConstants.IN_DELETE_SELF)

    class Reader(InotifyFD):
        changed: frozenset[tuple[int, bytes]] = frozenset()
        """The files whose attributes were changed, of those that the events read last are about."""

        def __init__(self) -> None:
            super().__init__()
            self._is_reading = False  # or nothing would be closed before the first read
            for fd in (self._inotify_fd, self._kill_r, self._kill_w):
                os.set_inheritable(fd, False)  # watchdog 7.1.0 lets every job inherit them

        def read_events(self, **how: int) -> list[InotifyEvent]:
            read = super().read_events(**how)
            self.changed = frozenset((each.wd, each.name) for each in read if each.is_attrib)
            return read

    reader = Reader()
    watching = _Watching(ring, moved, overflow, lose, lambda event: (event.wd, event.name) in reader.changed)
    try:
        for path, place in places.items():
            wanted = Mask((events if os.path.isdir(path) else growth) | InotifyConstants.IN_DONT_FOLLOW)
            watch = reader.add_callback(os.fsencode(path), wanted, watching, CallbackId(id(watching)))
            if watch == -1:  # of which watchdog says nothing
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            watching.places[watch] = place
    except BaseException:
        reader.close()
        raise
    return reader


class _Watching:
    """What watchdog calls for every event of a reader; `places` are those of its watches."""

    def __init__(
        self,
        ring: Ring,
        moved: Callable[[str], None] | None,
        overflow: Callable[[], None],
        lose: Callable[[], None],
        was_changed: Callable[[InotifyEvent], bool],
    ) -> None:
        self.places: dict[int, str] = {}
        self._ring, self._moved, self._was_changed = ring, moved, was_changed
        self._overflow, self._lose = overflow, lose

    def on_event(self, event: InotifyEvent) -> None:
        place = self.places[event.wd]
        path = os.path.join(place, os.fsdecode(event.name)) if event.name else place
        if event.is_delete_self:
            self._lose()
        elif event.is_directory:
            self._ring(None)
        elif self._moved and event.is_moved_to and _is_left_alone(path, self._was_changed(event)):
            self._moved(path)
        else:
            self._ring(path)

    def on_watch_deleted(self, _: int) -> None:
        self._lose()

    def on_queue_overflow(self) -> None:
        self._overflow()


def _is_left_alone(path: str, was_changed: bool) -> bool:
    """Whether nobody seems to return to a file that he has just renamed.

    Ansible's copy (ansible-core 2.19) does: it renames a file that is executable to its name, and then sets its mode.
    """
    with suppress(OSError):
        return not (was_changed or os.lstat(path).st_mode & 0o111)
    return False
