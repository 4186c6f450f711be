"""What the tests of the command line start from: shells, terminals, and spools with known jobs."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from queuectl.core.names import PendingName, RunningName
from queuectl.core.result import State
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, WORKER, put, put_finished
from tests.support import environment

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
JOB_KEYS = {
    "id", "state", "priority", "attempts", "run_at", "started_at", "finished_at", "worker", "result", "exit_code",
    "duration", "submitted_by", "owner", "path", "body", "problem", "held", "waiting", "stopped", "progress",
}  # fmt: skip
FOREIGN = (b"README", b"x.txt", b".hidden.json", b"\xff\xfe.json~", b"010-x-0-y.jsn")
"""Names that are not jobs, nor files that may become some."""


def run(
    *words: str, cwd: Path, env: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`queuectl` without any --spool."""
    return subprocess.run(
        [sys.executable, "-m", "queuectl", *words],
        check=False,
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment(**(env or {})),
        timeout=60,
    )


def run_shell(
    script: str, cwd: Path, env: Mapping[str, str] | None = None, shell: str = "sh"
) -> subprocess.CompletedProcess[str]:
    """What a person types, with `queuectl` on the PATH."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ.get('PATH', os.defpath)}"
    return subprocess.run(
        [shell, "-c", script],
        check=False,
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        env=environment(**{"PATH": path, **(env or {})}),
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


class Terminal:
    """A program whose stdout and stderr are a terminal."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        *,
        stdin: BinaryIO | None = None,
        columns: int = 80,
        stdin_is_terminal: bool = False,
        term: str = "xterm",
    ) -> None:
        self._terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        clean = {key: value for key, value in environment(TERM=term).items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            argv,
            stdin=inside if stdin_is_terminal else stdin or subprocess.DEVNULL,
            stdout=inside,
            stderr=inside,
            cwd=cwd,
            env=clean,
        )
        os.close(inside)
        self._data = b""

    def text(self) -> str:
        """What it has got so far."""
        while select.select([self._terminal], [], [], 0)[0] and (piece := _read(self._terminal)):
            self._data += piece
        return self._data.decode("utf-8", "replace").replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> tuple[int, str]:
        """(exit code, all that the terminal got), once the program has ended."""
        while piece := _read(self._terminal):
            self._data += piece
        text = self.text()
        os.close(self._terminal)
        return self.process.wait(60), text


def run_on_terminal(
    argv: Sequence[str],
    cwd: Path,
    *,
    stdin: BinaryIO | None = None,
    columns: int = 80,
    stdin_is_terminal: bool = False,
    term: str = "xterm",
) -> tuple[int, str]:
    """(exit code, what the terminal got) of a program whose stdout and stderr are a terminal."""
    return Terminal(argv, cwd, stdin=stdin, columns=columns, stdin_is_terminal=stdin_is_terminal, term=term).end()


def _read(terminal: int) -> bytes:
    """The next piece of what was written; empty once every writer is gone, which Linux reports as EIO."""
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def put_one_of_each(layout: Layout) -> None:
    """A job in every state, named after it."""
    put(layout, PendingName(10, NOW, 0, "ready"), "echo ready")
    put(layout, PendingName(5, NOW.replace(year=2999), 0, "scheduled"), "echo scheduled")
    put(layout, PendingName(10, NOW.replace(year=2999), 2, "retrying"), "echo retrying")
    put(layout, RunningName(NOW, 10, 1, WORKER, "running"), "echo running", State.RUNNING)
    put_finished(layout, "done", "exit0", State.DONE)
    put_finished(layout, "failed", "exit7")


def put_foreign(layout: Layout) -> None:
    """In every state's directory, files and a directory that are not jobs."""
    for state in State:
        for name in FOREIGN:
            Path(os.fsdecode(os.path.join(os.fsencode(layout.directory(state)), name))).write_text("{}")
        os.mkdir(f"{layout.directory(state)}/directory")


def run_audited(spool: Path, events: Sequence[str], *words: str, report: Path) -> list[str]:
    """Run `queuectl` to its end, with 0; the argument of each of those audit events, as text."""
    with subprocess.Popen(audited(spool, events, *words, report=report), stdout=subprocess.DEVNULL) as process:
        assert process.wait(60) == 0
    return report.read_text().splitlines()


def audited(spool: Path, events: Sequence[str], *words: str, report: Path) -> list[str]:
    """The words that run `queuectl` so that its end leaves those audit events (see sys.addaudithook) in a report."""
    code = (
        "import sys; from queuectl.cli.main import main; seen = []\n"
        f"sys.addaudithook(lambda event, found: event in {tuple(events)} and seen.append(str(found[0])))\n"
        f"try: main()\nfinally: print(*seen, sep='\\n', file=open({str(report)!r}, 'w'))"
    )
    return [sys.executable, "-c", code, "--spool", str(spool), *words]
