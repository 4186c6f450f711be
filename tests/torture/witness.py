"""What leaves evidence: commands that witness their own start, end and overlap, and producers that keep a journal.

Every line is one write(2) on a descriptor opened with O_APPEND, so lines of many writers never mix.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from queuectl import Spool
from queuectl.errors import QueuectlError

PAUSES = (":", ":", ":", "sleep 0.01", "sleep 0.03", "sleep 0.2")


class Evidence:
    """The directory that the checker reads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mutexes = directory / "mutex"
        self.ledger = directory / "ledger"
        self.mutexes.mkdir(parents=True)
        self.ledger.touch()

    def script(self, code: int, pause: str = ":") -> str:
        """A command that holds its job's mutex, writes S and E lines, and exits with `code`."""
        line = "$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT"
        return (
            f"{{ flock -n 8||echo O {line}>>{self.ledger};echo S {line} $$>>{self.ledger};{pause};"
            f'echo E {line} {code} >>{self.ledger};exit {code};}} 8>>"{self.mutexes}/$QUEUECTL_JOB_ID"'
        )


def append(path: Path, text: str) -> None:
    """One line, one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, (text + "\n").encode())
    finally:
        os.close(fd)


def make_jobs(
    evidence: Evidence, number: int, seed: int, *, prefix: str = "j", retries: int | None = None
) -> Iterator[dict[str, Any]]:
    """Job bodies of every kind: short and long, plain, wrapped and arrays, good and bad exit codes.

    `retries` is that of the good ones; bad ones have 0 or 1, so that they end soon.
    """
    rng = random.Random(seed)
    for n in range(number):
        code = rng.choice((0, 0, 0, 0, 3, 77, 200))
        script = evidence.script(code, rng.choice(PAUSES))
        kind = n % 8
        command: object = script
        if kind == 5:
            command = ["sh", "-c", script]
        elif kind == 6:
            command = f"exec sh -c '{script}'"
        elif kind == 7:
            command = f"trap : EXIT;{script}"
        most = rng.choice((0, 0, 1)) if code or retries is None else retries
        yield {
            "id": f"{prefix}{n}",
            "command": command,
            "max_retries": most,
            "backoff_base": 0,
            "torture_code": code,
            "torture_text": "ü" * rng.randrange(0, 200),
        }


def enqueue_all(spool: Path, jobs: Iterable[Mapping[str, Any]], journal: Path, *, group: int = 1) -> None:
    """Submit through the library, in groups, keeping a journal. An error leaves the rest of its group unknown."""
    queue = Spool(spool)
    batch: list[Mapping[str, Any]] = []

    def flush() -> None:
        for job in batch:
            append(journal, json.dumps({"intent": job["id"], "body": job}))
        for outcome in queue.enqueue_many(batch):
            if isinstance(outcome, QueuectlError):
                raise outcome
            append(journal, json.dumps({"ack": outcome.id}))
        batch.clear()

    for job in jobs:
        batch.append(job)
        if len(batch) == group:
            flush()
    flush()


def drop_all(spool: Path, jobs: Iterable[Mapping[str, Any]], journal: Path) -> None:
    """Submit as other tools do: every second by a rename, the others written in place, in two pieces."""
    for n, job in enumerate(jobs):
        data = json.dumps(job).encode()
        append(journal, json.dumps({"intent": job["id"], "body": job}))
        target = spool / "pending" / f"dropped by {job['id']}.json"
        if n % 2:
            temporary = spool / "tmp" / f"drop-{job['id']}"
            temporary.write_bytes(data)
            temporary.rename(target)
        else:
            with target.open("wb", buffering=0) as file:
                file.write(data[:20])
                file.write(data[20:])
        append(journal, json.dumps({"ack": job["id"]}))


Producer = Callable[..., None]
