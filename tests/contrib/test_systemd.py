"""What contrib/ offers is accepted by the programs it is for."""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from queuectl.cli.worker import start
from queuectl.work.notify import Ending
from tests.support import need

UNITS = Path(__file__).parents[2] / "contrib/systemd"


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_accepts_the_unit(kind: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about it."""
    need("systemd-analyze")
    unit = UNITS / kind / "queuectl.service"
    done = subprocess.run(
        ["systemd-analyze", f"--{kind}", "verify", str(unit)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    said = [line for line in done.stderr.splitlines() if "queuectl" in line]
    assert (done.returncode, done.stdout, said) == (0, "", [])


@pytest.mark.parametrize("kind", ["system", "user"])
def test_unit_follows_a_detached_worker(kind: str) -> None:
    """After `worker stop --detach` systemd starts the next worker; after `worker stop` it starts none."""
    unit = configparser.RawConfigParser(strict=False)
    unit.read(UNITS / kind / "queuectl.service")
    service = unit["Service"]
    assert service["SuccessExitStatus"] == service["RestartForceExitStatus"] == str(int(Ending.DETACHED))
    assert service["Restart"] == "on-failure"


@pytest.mark.parametrize("kind", ["system", "user"])
def test_command_of_the_unit_is_one(kind: str) -> None:
    """The command line that a unit starts is one that queuectl understands."""
    unit = configparser.RawConfigParser(strict=False)
    unit.read(UNITS / kind / "queuectl.service")
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[:2] == ["/usr/bin/env", "queuectl"]
    assert words[words.index("worker") + 1] == "start"
    options = words[words.index("start") + 1 :]
    start.make_context("start", options)  # raises the error that a user would see
