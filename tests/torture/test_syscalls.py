"""Death and errors at every system call, in their short form: each operation, every few points."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import environment, need
from tests.torture.syscalls import OPERATIONS

STEPS = {"kill": 19, "error": 83}
LONG = {"worker": 11, "cancel-running": 2, "rescue-lost": 2, "rescue-never-started": 2}
"""How much rarer an operation is struck that has many calls, or whose repair waits for deadlines."""


@pytest.mark.parametrize(("fault", "step"), [("kill", 101), ("error", 701)])
def test_fault_at_a_system_call_of_hosts_that_share_a_spool(fault: str, step: int) -> None:
    """The same of what one host does there, whose jobs another one takes once it is said to be gone."""
    need("strace", "flock")
    words = [sys.executable, "-m", "tests.torture.shared_calls", "all", fault, str(step)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    assert figures["problems"] == []
    assert figures["struck"] >= 10


@pytest.mark.parametrize("fault", STEPS)
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "enqueue-group"])
def test_fault_at_a_system_call(operation: str, fault: str) -> None:
    """Wherever an operation breaks off, each job is one whole file, and the next worker brings it to its end once."""
    need("strace", "flock")
    words = [
        sys.executable,
        "-m",
        "tests.torture.syscalls",
        operation,
        fault,
        str(STEPS[fault] * LONG.get(operation, 1)),
    ]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout)
    assert figures["problems"] == []
    assert figures["struck"] >= 1
