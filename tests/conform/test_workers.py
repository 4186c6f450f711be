"""`queuectl conform worker`: ours and one that was written from the specification alone pass, and each rule fails for a
worker with one planted fault."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conform.test_producers import ROOT, failed, judge, script

SECOND = ROOT / "contrib" / "worker.py"


def test_own_worker_conforms() -> None:
    """`queuectl worker start` keeps every rule."""
    found = judge("worker", Path(sys.executable), "-m", "queuectl", "worker", "start", "--count", "3")
    assert {row["verdict"] for row in found.values()} == {"ok"}, failed(found)


def test_worker_written_from_the_specification_conforms() -> None:
    """So does one that imports nothing of queuectl."""
    assert "queuectl" not in [
        line.split()[1] for line in SECOND.read_text().splitlines() if line.startswith(("import ", "from "))
    ]
    found = judge("worker", SECOND)
    assert {row["verdict"] for row in found.values()} == {"ok"}, failed(found)


FAULTS = {
    "looks": [
        ("worker-file", "fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)", "pass"),
        ("environment", "if not ours.fullmatch(key)", "if key"),
        ("end-line", r'printf "\\n#queuectl end {name.which} status', r'printf "#queuectl end {name.which} status'),
        ("backoff", "** name.attempt)", "* 0 + name.attempt)"),
        ("ignore", 'or text.startswith(".") or', "or"),
        ("retries", 'if attempt > get("max_retries")', 'if attempt > get("max_retries") + 1'),
        ("held", 'match["at"] <= at', 'match["at"][1:] <= at[1:]'),
        ("refuse", "reason={json.dumps(reason)}\\n", "\\n"),
        ("lock", "is_free = lock(log, milliseconds(name.at) + 1)", "is_free = lock(log, milliseconds(name.at))"),
    ],
    "runs": [
        ("lock", "is_free = lock(log, milliseconds(name.at) + 1)", "is_free = True"),
        ("claim", "attempts + 1, self.name", "attempts + 2, self.name"),
        ("start-line", 'echo "#queuectl start', 'echo; echo "#queuectl start'),
        ("streams", "stdin=subprocess.DEVNULL", "stdin=subprocess.PIPE"),
        ("session", "start_new_session=True", "start_new_session=False"),
        ("results", "if 128 < status <= 192", "if False"),
        ("timeout", "elif not run.reason and timeout and", "elif False and"),
        ("adopt", 'priority, at = f"{body.get(\'priority\', 10):03}", now()', 'priority, at = "010", now()'),
        ("cancel", 'not os.path.exists(self.path("running", run.name))', "False"),
        ("stop", "while not self.stopping or self.runs:", "while not self.stopping:"),
    ],
    "pauses": [
        ("pause", "def is_paused(self) -> bool:", "def is_paused(self) -> bool:\n        return False"),
        ("order", 'sorted(os.listdir(self.path("pending"))):\n            match =',
         'sorted(os.listdir(self.path("pending")), reverse=True):\n            match ='),
    ],
    "rescues": [
        ("rescue-ended", 'if "exit" in fields or', 'if "exit" in fields and name.worker != self.name:\n'
         '            return "lost"\n        if "exit" in fields or'),
        ("rescue-unstarted", 'self.settle(run, "released", 0)', 'self.settle(run, "lost", 0)'),
        ("rescue-lost", 'word = {"release": "released", "": "lost"}', 'word = {"release": "released", "": "released"}'),
        ("rescue-alive", "if not end and pid and self.carries(pid, token):", "if False:"),
        ("rescue-others", 'if not is_here or "on" in info:', 'if "on" in info:'),
    ],
    "forgets": [("killed", "self.rescue()\n", "pass\n"), ("together", "self.rescue()\n", "pass\n")],
}  # fmt: skip
"""Faults that one worker can have together, each with the rule that it breaks: what it says, and the fault instead."""


@pytest.mark.parametrize("kind", FAULTS)
def test_faulty_worker_fails(tmp_path: Path, kind: str) -> None:
    """A worker fails for each rule that it breaks, and for none of the others that are tried with them."""
    text = SECOND.read_text()
    for rule, right, wrong in FAULTS[kind]:
        assert right in text or wrong in text, rule
        text = text.replace(right, wrong)
    rules = tuple(rule for rule, *_ in FAULTS[kind])
    found = failed(judge("worker", script(tmp_path, text), rules=rules, patience="3"))
    assert set(found) == set(rules)
