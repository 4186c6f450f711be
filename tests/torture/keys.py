"""Many submitters of a few keys, in all three ways, that are killed at any moment, beside workers that are killed too.

    python -m tests.torture.keys [SUBMITTERS] [SECONDS]

Afterwards no two jobs of a key may have run at once, each acknowledged job must have ended or have got a later body,
none may be left, and every key must be free. Prints the figures and all problems as JSON.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from queuectl import Spool
from queuectl.core.job import ExistingJob
from queuectl.core.result import State
from queuectl.errors import AlreadyExistsError, QueuectlError

KEYS = ("a", "b", "c")
WAYS = ("skip", "replace", "fail")
_DEADLINE = 60.0


def command(ledger: Path, key: str, mark: str) -> str:
    """A job that fails if another of its key is running, and records that it ran."""
    lock = f"{ledger}.{key}"
    return f"flock -n {lock} sh -c 'echo {key} {mark} >> {ledger}; sleep 0.02' || echo {key} TWICE >> {ledger}"


def submitter(spool: Path, ledger: Path, number: int) -> None:
    """Submit until killed; what was acknowledged is appended to a file."""
    at = random.Random()
    with open(f"{ledger}.acknowledged", "ab", buffering=0) as said:
        for count in range(1_000_000):
            key, how, mark = at.choice(KEYS), at.choice(WAYS), f"{number}.{count}.{os.getpid()}"
            text = command(ledger, key, mark)
            try:
                job = Spool(spool).enqueue(text, unique=key, if_exists=how, max_retries=1, backoff_base=0)  # type: ignore[arg-type]
            except AlreadyExistsError:
                continue
            is_new, is_replaced = not isinstance(job, ExistingJob), isinstance(job, ExistingJob) and job.is_replaced
            fcntl.flock(said, fcntl.LOCK_EX)
            said.write(json.dumps([key, job.id, mark, is_new, is_replaced]).encode() + b"\n")
            fcntl.flock(said, fcntl.LOCK_UN)


def _start(spool: Path, ledger: Path, number: int) -> int:
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(QueuectlError):
            submitter(spool, ledger, number)
        os._exit(1)
    return pid


def storm(submitters: int, seconds: float) -> dict[str, object]:
    """The figures of a storm, and its problems."""
    home = Path(tempfile.mkdtemp(prefix="queuectl-keys-"))
    spool, ledger = Spool(home / "spool", create=True), home / "ledger"
    worker = [
        sys.executable,
        "-m",
        "queuectl",
        "--spool",
        str(spool.path),
        "worker",
        "start",
        "--count",
        "2",
        "--quiet",
    ]
    workers = [subprocess.Popen(worker) for _ in range(2)]
    children = {_start(spool.path, ledger, number): number for number in range(submitters)}
    killed, at, until = 0, random.Random(1), time.monotonic() + seconds
    while time.monotonic() < until:
        pid, number = at.choice([*children.items()])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        del children[pid]
        children[_start(spool.path, ledger, number)] = number
        killed += 1
        if killed % 50 == 0:
            workers[0].kill()
            workers[0].wait()
            workers[0] = subprocess.Popen(worker)
        time.sleep(0.02)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for process in workers:
        process.terminate()
        process.wait()
    subprocess.run([*worker, "--drain"], check=False, timeout=_DEADLINE)
    return {"killed": killed, **_judge(spool, ledger)}


def _judge(spool: Spool, ledger: Path) -> dict[str, object]:
    ran = Counter(line.split()[1] for line in ledger.read_text().splitlines() if not line.endswith("TWICE"))
    problems = [f"two at once of {line.split()[0]}" for line in ledger.read_text().splitlines() if "TWICE" in line]
    problems += [f"left: {job.path}" for job in spool.list((State.PENDING, State.RUNNING))]
    known = {job.id: job for job in spool.list()}
    acknowledged = [json.loads(line) for line in Path(f"{ledger}.acknowledged").read_text().splitlines()]
    replaced = {id for _, id, _, _, is_replaced in acknowledged if is_replaced}
    for key, id, mark, is_new, _ in acknowledged:
        if id not in known:
            problems.append(f"{id} of {key} was acknowledged and is gone")
        elif is_new and id not in replaced and not ran[mark] and known[id].command.find(mark) >= 0:  # type: ignore[union-attr]
            problems.append(f"{id} of {key} never ran: {known[id].result}")
    for key in KEYS:
        job = spool.enqueue("true", unique=key)
        if isinstance(job, ExistingJob):
            problems.append(f"the key {key} is not free: {job.path}")
    return {"acknowledged": len(acknowledged), "ran": sum(ran.values()), "problems": problems}


def main(arguments: list[str]) -> int:
    figures = storm(int(arguments[0]) if arguments else 40, float(arguments[1]) if len(arguments) > 1 else 60.0)
    print(json.dumps(figures))
    return 1 if figures["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
