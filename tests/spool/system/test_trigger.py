"""The trigger: it fires at once for every way a file can appear, and says when it cannot."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from selectors import DefaultSelector

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchDescriptor

from queuectl.core.result import State
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout, create
from queuectl.spool.system.trigger import Trigger
from tests.spool.given import pending_name, put, running_name
from tests.support import wait_for


class Bell:
    """Notes what rang, and when."""

    def __init__(self) -> None:
        self.rung: list[tuple[str | None, float]] = []

    def __call__(self, path: str | None) -> None:
        self.rung.append((path, time.monotonic()))

    def heard(self, path: object) -> bool:
        return any(rung == (None if path is None else str(path)) for rung, _ in self.rung)

    def delay(self, path: Path, since: float) -> float:
        """Seconds from `since` to the first ring for that path."""
        wait_for(lambda: self.heard(path), f"a ring for {path.name}")
        return next(at for rung, at in self.rung if rung == str(path)) - since


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def trigger(layout: Layout, bell: Bell) -> Iterator[Trigger]:
    trigger = Trigger(layout, bell)
    assert trigger.problem is None
    wait_until_watching(layout, bell)
    yield trigger
    trigger.close()


def wait_until_watching(layout: Layout, bell: Bell) -> None:
    """Until the watch is set, which happens in a thread of its own."""
    for directory in (layout.pending, layout.root):
        probe = Path(directory, f"probe-{time.monotonic_ns()}")

        def ask(probe: Path = probe) -> bool:
            probe.touch()
            return bell.heard(probe)

        wait_for(ask, "the first ring")
        probe.unlink()


def by_rename(path: Path) -> None:
    source = path.parent.parent / "tmp" / "source"
    source.write_text("{}")
    source.rename(path)


def by_link(path: Path) -> None:
    source = path.parent.parent / "tmp" / "source"
    source.write_text("{}")
    os.link(source, path)


def by_writing(path: Path) -> None:
    path.write_text("{}")


WAYS = pytest.mark.parametrize("make", [by_rename, by_link, by_writing])


@WAYS
@pytest.mark.usefixtures("trigger")
def test_rings_for_a_new_file(layout: Layout, bell: Bell, make: Callable[[Path], None]) -> None:
    """However a file comes to lie in pending/, its path is rung."""
    path = Path(layout.pending, "x.json")
    make(path)
    wait_for(lambda: bell.heard(path), "the ring")


@WAYS
@pytest.mark.usefixtures("trigger")
def test_rings_at_once_after_a_claim(layout: Layout, bell: Bell, make: Callable[[Path], None]) -> None:
    """A job that comes right after a claim is not held up by it.

    watchdog 7.1.0 holds the claim's IN_MOVED_FROM for 0.5 s, and every event behind it. Of several tries the
    fastest counts, so that a busy machine is not mistaken for that.
    """
    delays = []
    for turn in range(6):
        claimed = put(layout, pending_name(f"claimed{turn}"))
        assert files.move(str(claimed), layout.job(State.RUNNING, running_name(f"claimed{turn}")))
        path = Path(layout.pending, f"x{turn}.json")
        since = time.monotonic()
        make(path)
        delays.append(bell.delay(path, since))
    assert min(delays) < 0.1


@pytest.mark.usefixtures("trigger")
def test_rings_when_a_file_is_written_again(layout: Layout, bell: Bell) -> None:
    """Anyone who continues writing a file is heard when it is closed."""
    path = put(layout, "x.json")
    wait_for(lambda: bell.heard(path), "the first ring")
    with path.open("a") as file:
        file.write(" ")
        file.flush()
        bell.rung.clear()
    wait_for(lambda: bell.heard(path), "the second ring")


def test_rings_as_a_file_grows(layout: Layout, bell: Bell) -> None:
    """Of a file each write is heard, while it is open; this is what `logs -f` waits for."""
    path = Path(layout.logs, "x.log")
    path.touch()
    trigger = Trigger(layout, bell, [str(path)])
    try:
        with path.open("a") as file:

            def write() -> bool:
                file.write("line\n")
                file.flush()
                return bell.heard(path)

            wait_for(write, "a ring")
    finally:
        trigger.close()


def test_rings_apart_for_what_was_renamed(layout: Layout, bell: Bell) -> None:
    """A file that was finished elsewhere can be distinguished from one that was written or linked in place."""
    moved = Bell()
    trigger = Trigger(layout, bell, moved=moved)
    try:
        wait_until_watching(layout, bell)
        for make in (by_writing, by_link, by_rename):
            path = Path(layout.pending, f"{make.__name__}.json")
            make(path)
            Path(layout.tmp, "source").unlink(missing_ok=True)
        wait_for(partial(moved.heard, path), "the ring")  # what was made before it has rung by then
        assert [path for path, _ in moved.rung] == [f"{layout.pending}/by_rename.json"]
    finally:
        trigger.close()


@pytest.mark.parametrize("link", ["spool", "parent"])
def test_rings_through_symbolic_links(tmp_path: Path, bell: Bell, link: str) -> None:
    """A spool may be reached by other paths than its own; what is rung begins with the path that was given."""
    real = tmp_path / "real" / "spool"
    create(real)
    if link == "spool":
        (tmp_path / "link").symlink_to("real/spool")
        layout = Layout(str(tmp_path / "link"))
    else:
        (tmp_path / "link").symlink_to("real")
        layout = Layout(str(tmp_path / "link" / "spool"))
    trigger = Trigger(layout, bell)
    try:
        assert trigger.problem is None
        wait_until_watching(layout, bell)
        by_rename(real / "pending" / "x.json")
        wait_for(lambda: bell.heard(f"{layout.pending}/x.json"), "the ring")
    finally:
        trigger.close()


def test_link_that_leads_elsewhere_later_is_noticed(tmp_path: Path, bell: Bell) -> None:
    """The watch is not alive then; opened again, it is on the directory that the path leads to now."""
    for name in ("one", "two"):
        create(tmp_path / name)
    link = tmp_path / "link"
    link.symlink_to("one")
    layout = Layout(str(link))
    trigger = Trigger(layout, bell)
    try:
        wait_for(lambda: trigger.is_alive, "the watch")
        link.unlink()
        link.symlink_to("two")
        assert not trigger.is_alive
        trigger.open()
        assert trigger.is_alive
        bell.rung.clear()
        wait_until_watching(layout, bell)
    finally:
        trigger.close()


@pytest.mark.usefixtures("trigger")
def test_rings_for_the_pause(layout: Layout, bell: Bell) -> None:
    """`touch paused` and `rm paused` are both heard."""
    path = Path(layout.paused)
    path.touch()
    wait_for(lambda: bell.heard(path), "the pause")
    bell.rung.clear()
    path.unlink()
    wait_for(lambda: bell.heard(path), "its end")


@pytest.mark.usefixtures("trigger")
def test_names_that_are_not_utf8(layout: Layout, bell: Bell) -> None:
    """A file of any name is rung under a path that leads to it."""
    path = Path(layout.pending, os.fsdecode(b"\xff\n\xfe.json"))
    path.touch()
    wait_for(lambda: bell.heard(path), "the ring")


def test_overflow_rings_for_everything(trigger: Trigger, bell: Bell) -> None:
    """When the kernel drops events, the trigger says: look at everything."""
    reader = reader_of(trigger)
    assert not bell.heard(None)
    reader.handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))
    assert bell.heard(None)
    assert trigger.is_alive


def reader_of(trigger: Trigger) -> InotifyFD:
    assert trigger._reader is not None
    return trigger._reader


@contextmanager
def no_inotify(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All of the user's inotify instances are in use."""

    def refuse() -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(InotifyFD, "_create_inotify_fd", staticmethod(refuse))
        yield


def test_trigger_without_inotify_reports_the_problem(
    layout: Layout, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no watch can be had nothing is raised: `problem` says why, and a later try can succeed."""
    with no_inotify(monkeypatch):
        trigger = Trigger(layout, bell)
        assert trigger.problem is not None
        assert "Too many open files" in trigger.problem
        assert not trigger.is_alive
    trigger.open()
    assert trigger.problem is None
    assert trigger.is_alive
    wait_until_watching(layout, bell)
    trigger.close()


def test_trigger_without_a_thread_reports_the_problem(
    layout: Layout, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of threads nothing is raised either, and a later try can succeed."""

    def refuse(_: InotifyFD) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(InotifyFD, "start", refuse)
        trigger = Trigger(layout, bell)
        assert not trigger.is_alive
        assert "can't start new thread" in str(trigger.problem)
    trigger.open()
    assert trigger.is_alive
    trigger.close()


def test_directory_that_is_gone_is_a_problem(layout: Layout, bell: Bell) -> None:
    """A spool without pending/ cannot be watched, and no thread is left that pretends to."""
    os.rmdir(layout.pending)
    trigger = Trigger(layout, bell)
    try:
        wait_for(lambda: trigger.problem is not None or not trigger.is_alive, "the problem")
    finally:
        trigger.close()


def test_dead_thread_is_noticed_and_replaced(layout: Layout, trigger: Trigger, bell: Bell) -> None:
    """When the thread that a ring needs has died the trigger is not alive, and opening it again brings it back."""
    assert trigger.is_alive
    reader_of(trigger).stop()
    wait_for(lambda: not trigger.is_alive, "the death")
    trigger.open()
    assert (trigger.problem, trigger.is_alive) == (None, True)
    bell.rung.clear()
    wait_until_watching(layout, bell)


def test_place_that_is_replaced_is_noticed(layout: Layout, trigger: Trigger, bell: Bell) -> None:
    """A directory that was removed and made again is not watched any more until the trigger is opened again."""
    os.rmdir(layout.pending)
    os.mkdir(layout.pending)
    wait_for(lambda: not trigger.is_alive, "the loss")
    trigger.open()
    bell.rung.clear()
    wait_until_watching(layout, bell)


def test_rings_in_the_thread_that_selects(layout: Layout, bell: Bell) -> None:
    """With a selector no thread is started; each event is there when the selector is ready, also after another open."""
    threads = threading.active_count()
    with DefaultSelector() as selector:
        trigger = Trigger(layout, bell, selector=selector)
        for name in ("a.json", "b.json"):
            by_rename(Path(layout.pending, name))
            ((key, _),) = selector.select(20)
            assert key.data is trigger
            assert not bell.heard(f"{layout.pending}/{name}")
            trigger.hear()
            assert bell.heard(f"{layout.pending}/{name}")
            trigger.open()
        assert threading.active_count() == threads
        reader_of(trigger).close()
        assert not trigger.is_alive
        trigger.close()
        assert not selector.get_map()


def test_opening_again_leaks_nothing(trigger: Trigger) -> None:
    """A trigger that is opened and closed many times holds no more descriptors than once."""
    trigger.open()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        trigger.open()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before, "the descriptors' return")
    trigger.close()
    assert not trigger.is_alive
    trigger.close()
