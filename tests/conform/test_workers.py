"""`queuectl conform worker`: ours and one that follows the specification pass, and each rule fails for a
worker with one planted fault."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.upkeep import findings, fsck
from tests.conform.test_producers import ROOT, failed, judge, script
from tests.support import environment, names, wait_for
from tests.torture.checker import check

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
        ("retries", 'if name.attempt > get("max_retries")', 'if name.attempt > get("max_retries") + 1'),
        ("held", 'match["at"] <= at', '"0" <= at'),
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
        ("adopt", "priority, at = f\"{int(self.setting(body, 'priority', id)):03}\", ", 'priority, at = "010", '),
        ("cancel", 'not os.path.exists(self.path("running", run.name))', "False"),
        ("stop", "while not self.stopping or self.runs:", "while not self.stopping:"),
    ],
    "pauses": [
        ("pause", "def is_paused(self, *group: str) -> bool:",
         "def is_paused(self, *group: str) -> bool:\n        return False"),
        ("order", 'sorted(os.listdir(self.path("pending"))):\n            match =',
         'sorted(os.listdir(self.path("pending")), reverse=True):\n            match ='),
    ],
    "shares": [
        ("group-pause", "def is_paused(self, *group: str) -> bool:",
         "def is_paused(self, *group: str) -> bool:\n        if group:\n            return False"),
        ("limit", "return None if text is None else int(text) if text.isdecimal() else 0", "return None"),
        ("seats", "pass_fds=[fd for taken in seats.values() for fd in taken.values()]", "pass_fds=[]"),
        ("keys", "if name != id and self.is_active(name)", "if False"),
        ("after", "elif not is_open and not waits:", "else:"),
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
    patience = "1.5" if kind == "shares" else "3"  # all its rules are broken: waiting changes nothing
    found = failed(judge("worker", script(tmp_path, text), rules=rules, patience=patience))
    assert set(found) == set(rules)


def test_worker_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    """What it said last is in the verdicts, and no rule that was not tried is kept."""
    dies = script(tmp_path, "#!/bin/sh\necho no such library >&2; exit 3\n")
    found = judge("worker", dies, rules=("worker-file", "claim"), patience="600")
    said = "the worker ended with exit code 3: no such library"
    assert found["worker-file"]["problems"] == ["there is no workers/WORKER.json", said]
    assert (found["claim"]["verdict"], found["claim"]["skipped"]) == ("skipped", said)


def test_worker_of_an_earlier_format_is_not_judged_by_a_later_one(tmp_path: Path) -> None:
    """The rules of format 2 are skipped for a worker whose file says 1."""
    text = SECOND.read_text().replace('"format": 2', '"format": 1')
    found = judge("worker", script(tmp_path, text), rules=("limit",), patience="3")
    assert found["limit"]["verdict"] == "skipped"
    assert found["limit"]["skipped"].startswith("its file says format 1")


def has_more(spool: Spool, ended: int) -> bool:
    """Whether more jobs are done, or none waits."""
    return len(names(spool.path / "done")) > ended or not names(spool.path / "pending")


def test_workers_of_both_kinds_share_a_spool(spool: Spool, tmp_path: Path) -> None:
    """Killed again and again, ours and the one written from the specification run each attempt once and lose none."""
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    ledger = evidence / "ledger"
    with open(evidence / "journal", "w") as journal:
        for number in range(30):
            id, code = f"job-{number:02}", number % 3
            line = "$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT"
            command = (
                f'echo "S {line} $$" >>{ledger}; sleep 0.0{number % 7}; echo "E {line} {code}" >>{ledger}; exit {code}'
            )
            body = {"command": command, "max_retries": 1, "backoff_base": 0, "torture_code": code}
            journal.write(json.dumps({"intent": id, "body": body}) + "\n")
            spool.enqueue(id=id, extra={"torture_code": code}, command=command, max_retries=1, backoff_base=0)
            journal.write(json.dumps({"ack": id}) + "\n")
    env = environment(QUEUECTL_SPOOL=str(spool.path), SLOTS="2")
    words = [[str(SECOND)], [sys.executable, "-m", "queuectl", "worker", "start", "--count", "2", "--quiet"]]
    workers = [subprocess.Popen(each, env=env) for each in words]
    try:
        for number in range(6):
            ended = len(names(spool.path / "done"))
            wait_for(partial(has_more, spool, ended), "an end")
            workers[number % 2].kill()
            workers[number % 2].wait()
            workers[number % 2] = subprocess.Popen(words[number % 2], env=env)
        wait_for(lambda: len(names(spool.path / "done") + names(spool.path / "dead")) == 30, "the end of all")
    finally:
        for worker in workers:
            worker.terminate()
        codes = [worker.wait(20) for worker in workers]
    # RACE: one that was killed last has just been started, and may not have its handler of SIGTERM yet.
    assert {*codes} <= {0, -signal.SIGTERM}
    assert check(spool.path, evidence).problems == []
    assert [
        finding.what for finding in fsck.check(spool.layout, "x") if finding.weight is findings.Weight.PROBLEM
    ] == []
