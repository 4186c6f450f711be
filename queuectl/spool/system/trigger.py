"""The trigger: events of the file system (watchdog) in pending/, the spool's root, or other places.

An event may be a false alarm or may be lost; nothing depends on events but how soon a worker looks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from queuectl.spool.system.layout import Layout

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver

Ring = Callable[[str | None], None]
"""Called from another thread with the path of a file that appeared, or None to mean "look at everything"."""


class Trigger:
    """Watches a spool until closed. If it cannot, `problem` says why.

    `places` are the directories in which files appear and vanish, and the files that grow; by default
    pending/ and the root. They may be reached through symbolic links. `moved` is called instead of `ring`, where the
    system can tell, with the path of a file that a rename has put there, to which its writer seems not to return; with
    it, changes of attributes ring too.
    """

    def __init__(
        self,
        layout: Layout,
        ring: Ring,
        places: Sequence[str] | None = None,
        moved: Callable[[str], None] | None = None,
    ) -> None:
        self._places = (layout.pending, layout.root) if places is None else places
        self._ring, self._moved = ring, moved
        self._watched: dict[str, str] = {}
        self._observer: BaseObserver | None = None
        self.problem: str | None = None
        self.is_blind = layout.shared
        """Whether what other hosts do may cause no events."""
        self.overflows = 0  # how often the kernel has dropped events because too many were queued
        self.open()

    def open(self) -> None:
        """Start watching, or record in `problem` why that fails; may be called again later."""
        self.close()
        self._watched = self._resolve()
        try:
            self._observer = _start_observer(self._watched, self._ring, self._moved, self._overflow)
            self.problem = None
        except Exception as error:  # watchdog raises what the platform's backend raises: OSError, ImportError, its own
            self.problem = f"{type(error).__name__}: {error}"

    @property
    def is_alive(self) -> bool:
        """Whether every thread that events need is running, and what is watched is what the paths lead to."""
        observer = self._observer
        if observer is None or not observer.is_alive() or self._watched != self._resolve():
            return False
        return all(emitter.is_alive() for emitter in observer.emitters) and _reader_is_alive(observer)

    def _resolve(self) -> dict[str, str]:
        """The places without symbolic links, each with its path as it was given: the watch would not follow them."""
        return {os.path.realpath(place): place for place in self._places}

    def _overflow(self) -> None:
        self.overflows += 1
        self._ring(None)

    def close(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            with suppress(RuntimeError):
                observer.join(timeout=2)


def _start_observer(
    places: Mapping[str, str], ring: Ring, moved: Callable[[str], None] | None, overflow: Callable[[], None]
) -> BaseObserver:
    """Watch the keys of `places`; their values are what the paths of events begin with."""
    from watchdog.events import FileSystemEvent, FileSystemEventHandler

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            if event.event_type == "modified" and event.is_directory:  # watchdog adds one to every event
                return
            directory, slash, name = os.fsdecode(event.src_path).rpartition("/")
            ring(None if event.is_directory else places.get(directory, directory) + slash + name)

    observer = _make_observer(places, ring, moved, overflow)
    for place in places:
        observer.schedule(Handler(), place)
    try:
        observer.start()
    except BaseException:
        observer.stop()
        raise
    return observer


def _make_observer(
    places: Mapping[str, str], ring: Ring, moved: Callable[[str], None] | None, overflow: Callable[[], None]
) -> BaseObserver:
    """An observer that reports events at once, even right after a job was claimed.

    Stock watchdog 7.1.0 delays an IN_MOVED_FROM (every claim is one), and every event behind it, by 0.5 s while
    waiting for its IN_MOVED_TO; so that event is not requested here (tests/spool/system/test_trigger.py). It also
    passes each event through two more threads, which would be most of the time until a job starts: here the thread
    that reads events calls `ring`. `overflow` is called when the kernel's event queue was full.
    """
    import sys

    if not sys.platform.startswith("linux"):
        from watchdog.observers import Observer

        return Observer()
    from watchdog.observers.api import BaseObserver
    from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
    from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask

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

        def read_events(self, **how: int) -> list[InotifyEvent]:
            read = super().read_events(**how)
            self.changed = frozenset((each.wd, each.name) for each in read if each.is_attrib)
            return read

    class Group(InotifyWatchGroup):
        def on_event(self, event: InotifyEvent) -> None:
            if event.is_delete_self:
                super().on_event(event)  # which ends the emitter
            else:
                place = places[os.fsdecode(self.path)]
                path = os.path.join(place, os.fsdecode(event.name)) if event.name else place
                if event.is_directory:
                    ring(None)
                elif moved and event.is_moved_to and _is_left_alone(path, (event.wd, event.name) in inotify.changed):
                    moved(path)
                else:
                    ring(path)

        def on_queue_overflow(self) -> None:
            super().on_queue_overflow()
            overflow()

    class Emitter(InotifyEmitter):
        def on_thread_start(self) -> None:
            path = self.watch.raw_path
            wanted = events if os.path.isdir(path) else growth
            self._inotify = Group(self._inotify_fd, os.fsencode(path), event_mask=wanted)

    inotify = Reader()  # of this trigger's own, so that it can be stopped and restarted
    os.set_inheritable(inotify._inotify_fd, False)  # watchdog 7.1.0 lets every job inherit it
    inotify.start()

    class Observer(BaseObserver):
        reader = inotify

        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            inotify.stop()

    return Observer(Emitter, timeout=1, inotify_fd=inotify)


def _is_left_alone(path: str, was_changed: bool) -> bool:
    """Whether nobody seems to return to a file that he has just renamed.

    Ansible's copy (ansible-core 2.19) does: it renames a file that is executable to its name, and then sets its mode.
    """
    with suppress(OSError):
        return not (was_changed or os.lstat(path).st_mode & 0o111)
    return False


def _reader_is_alive(observer: BaseObserver) -> bool:
    reader = getattr(observer, "reader", None)
    return reader is None or bool(reader.is_alive())
