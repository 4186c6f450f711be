"""`make demo` shows what it says it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from queuectl import Spool, State
from tests.docs.markdown import ROOT
from tests.support import environment


def test_demo_shows_every_kind_of_job(tmp_path: Path) -> None:
    """Success, retries into the dead letters, a timeout, a schedule, a priority and a dropped file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(ROOT / "examples/demo.sh")],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(PATH=path, TMPDIR=str(tmp_path)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (home,) = tmp_path.iterdir()
    spool = Spool(home / "spool")
    ended = {job.id.split("-")[0]: job for job in spool.list()}
    assert {id: (str(ended[id].result), ended[id].attempts) for id in ("hello", "broken", "endless")} == {
        "hello": ("exit0", 1),
        "broken": ("exit127", 3),
        "endless": ("timeout", 1),
    }
    assert {job.state for job in ended.values()} == {State.DONE, State.DEAD}
    assert "dropped" in ended
    order = [line.split()[2] for line in done.stdout.splitlines() if line[10:].startswith("start ")]
    assert "urgent" in order[:2], "there are two slots"
    assert "later" in order
