"""`queuectl top` and `status --watch`: live, on a terminal of any size."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.cli.top import lines_of, look
from tests.cli.given import put_one_of_each
from tests.spool.given import put_finished
from tests.support import PATIENCE, CommandLine, environment, wait_for, workers

ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][A-Z0-9]|[=>78])")


class Terminal:
    """A program on a terminal, and what it has been shown so far."""

    def __init__(self, argv: list[str], cwd: Path, kind: str = "xterm") -> None:
        self._end, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        clean = {key: value for key, value in environment(TERM=kind).items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            argv, stdin=inside, stdout=inside, stderr=inside, cwd=cwd, env=clean, start_new_session=True
        )
        os.close(inside)
        self.shown = ""

    def read(self) -> str:
        """All that was shown by now, without colours and movements."""
        with suppress(OSError):  # EIO: it has ended
            while select.select([self._end], [], [], 0)[0] and (data := os.read(self._end, 65536)):
                self.shown += ESCAPES.sub(" ", data.decode("utf-8", "replace"))
        return self.shown

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.read(), f"{text!r} on the terminal")

    def wait_redraw(self, before: int) -> None:
        """Until more is shown than so many characters."""
        wait_for(lambda: len(self.read()) > before or self.process.poll() is not None, "a redraw")

    def press(self, keys: str) -> None:
        os.write(self._end, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def wait_exit(self) -> int:
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
            time.sleep(0.01)
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._end)


@contextmanager
def terminal(cli: CommandLine, *words: str, kind: str = "xterm") -> Iterator[Terminal]:
    running = Terminal(cli.argv(*words), cli.cwd, kind)
    try:
        yield running
    finally:
        running.close()


def test_screen_shows_jobs_as_they_come_and_go(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """A job is seen waiting, running and ended without a key being pressed; q quits with 0."""
    go = tmp_path / "go"
    with terminal(cli, "top", "--interval", "0.1") as screen:
        screen.wait_for("running 0 of 0 slots")
        spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="seen")
        screen.wait_for("NEXT")
        with workers(spool.path):
            screen.wait_for("RUNNING")
            screen.wait_for("WORKERS")
            go.touch()
            screen.wait_for("ENDED")
        screen.press("q")
        assert screen.wait_exit() == 0
    assert "Traceback" not in screen.shown


def test_screen_needs_no_colours(cli: CommandLine) -> None:
    """A terminal without colours shows it as well."""
    with terminal(cli, "top", kind="vt100") as screen:
        screen.wait_for("running 0 of 0 slots")
        screen.press("q")
        assert screen.wait_exit() == 0
    assert "Traceback" not in screen.shown


@pytest.mark.parametrize("kind", ["", "no-such-terminal", "dumb"])
def test_terminal_that_it_cannot_draw_on(cli: CommandLine, kind: str) -> None:
    """The error says so, and what to do."""
    with terminal(cli, "top", kind=kind) as screen:
        assert screen.wait_exit() == 2
        assert f"top cannot draw on a terminal of type {kind!r}" in screen.read()
    assert "Traceback" not in screen.shown


def test_screen_shows_why_the_queue_is_paused(spool: Spool) -> None:
    """Since when, until when and why, on a line of its own in which nothing steers the terminal."""
    spool.pause("new\x1b[2J disks")
    (line,) = [text for text, _ in lines_of(look(spool), 79, 24) if "PAUSED" in text]
    assert line.startswith("PAUSED since 20")
    assert line.endswith(": new\\x1b[2J disks")
    spool.resume()
    assert not any("PAUSED" in text for text, _ in lines_of(look(spool), 79, 24))


def test_screen_adapts_to_any_size(cli: CommandLine, spool: Spool) -> None:
    """A terminal may become tiny, or large, while it runs."""
    put_one_of_each(spool.layout)
    with terminal(cli, "top", "--interval", "0.1") as screen:
        screen.wait_for("RUNNING")
        for rows, columns in ((1, 1), (2, 20), (5, 10), (60, 200), (24, 80)):
            before = len(screen.read())
            screen.resize(rows, columns)
            screen.press(" ")
            screen.wait_redraw(before)
        assert screen.process.poll() is None, screen.shown
        screen.press("q")
        assert screen.wait_exit() == 0, screen.read()


def test_top_needs_a_terminal(cli: CommandLine) -> None:
    """Without one it says what to use instead."""
    done = cli.run("top")
    assert done.returncode == 2
    assert "status --json" in done.stderr


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (10, 3), (1, 1)])
def test_screen_is_never_exceeded(spool: Spool, width: int, height: int) -> None:
    """Whatever there is to show, no line is longer than the screen and there are not more lines than it has."""
    put_one_of_each(spool.layout)
    for number in range(60):
        spool.enqueue("echo \x1b[31m" + "long " * 50, id=f"{'x' * 90}{number}")
    lines = lines_of(look(spool), width, height)
    assert len(lines) <= height
    assert max(len(text) for text, _ in lines) <= width
    assert not any("\x1b" in text for text, _ in lines)


def test_screen_has_room_for_each_part(spool: Spool) -> None:
    """On 24 lines a long queue hides neither what runs nor what has ended."""
    put_one_of_each(spool.layout)
    for number in range(60):
        spool.enqueue("true", id=f"waits{number}")
    text = "\n".join(text for text, _ in lines_of(look(spool), 79, 24))
    for word in ("RUNNING", "NEXT", "ENDED", "WORKERS", "echo running", "exit7", "waits1"):
        assert word in text


def test_status_watch(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """`status --watch --json` prints one object a line, again and again, until it is interrupted."""
    seen = tmp_path / "seen"
    with seen.open("wb") as stdout:
        process = subprocess.Popen(cli.argv("status", "--watch", "--interval", "0.1", "--json"), stdout=stdout)
    wait_for(lambda: seen.read_bytes().count(b"\n") >= 2)
    spool.enqueue("true")
    wait_for(lambda: b'"ready": 1' in seen.read_bytes())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert all("counts" in json.loads(line) for line in seen.read_text().splitlines())


def test_status_watch_on_a_terminal(cli: CommandLine, spool: Spool) -> None:
    """On a terminal the new numbers take the place of the old ones."""
    with terminal(cli, "status", "--watch", "--interval", "0.1") as screen:
        screen.wait_for("ready      0")
        spool.enqueue("true")
        screen.wait_for("ready      1")
        screen.process.send_signal(signal.SIGINT)
        assert screen.wait_exit() == 130


def test_interval_is_for_watching(cli: CommandLine) -> None:
    """Without --watch it is a usage error."""
    assert cli.run("status", "--interval", "1").returncode == 2


@pytest.mark.parametrize("width", [20, 39, 79])
def test_counters_on_a_narrow_terminal(spool: Spool, width: int) -> None:
    """Every counter is there in full: what does not fit into a line goes to the next."""
    put_finished(spool.layout, "x")
    lines = [text for text, _ in lines_of(look(spool), width, 30)]
    assert all(len(line) <= width for line in lines)
    text = "   ".join(line.strip() for line in lines)
    for counter in ("running 0 of 0 slots", "ready 0", "scheduled 0", "retrying 0", "done 0", "dead 1", "0 workers"):
        assert counter in text


def test_screen_shows_one_group(spool: Spool) -> None:
    """Its counts and its jobs; and which groups are paused, of all or of those around it and in it."""
    for id in ("gpu.train.1", "gpu.train.2", "net.1", "other"):
        spool.enqueue("true", id=id)
    put_finished(spool.layout, "gpu.bad")
    spool.pause("new driver", group="gpu")
    spool.pause("no cable", group="net")
    everything = "\n".join(text for text, _ in lines_of(look(spool), 120, 40))
    assert all(text in everything for text in ("gpu.train.1", "other", "ready 4", "new driver", "no cable"))
    group = "\n".join(text for text, _ in lines_of(look(spool, "gpu.train"), 120, 40))
    assert all(text in group for text in ("group gpu.train", "ready 2", "dead 0", "gpu.train.2", "new driver"))
    assert not any(text in group for text in ("gpu.bad", "other", "net.1", "no cable"))


def test_screen_has_room_for_three_groups(spool: Spool) -> None:
    """Of more that are paused only the number is shown."""
    for number in range(5):
        spool.pause(f"reason {number}", group=f"g{number}")
    shown = [text for text, _ in lines_of(look(spool), 120, 40)]
    assert sum("reason" in text for text in shown) == 3
    assert "and 2 more; see: queuectl group list" in shown
