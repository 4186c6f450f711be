"""Files of random names and mutated bodies, dropped by the thousand into the pending/ of a paused queue."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from queuectl import Spool
from tests.support import WorkerProcess
from tests.torture import checker

_LATER = "2999-01-01T00:00:00Z"
_PIECES = (
    b"",
    b'"',
    b"{",
    b"}",
    b"\\",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"NaN",
    b"1e999",
    b"[" * 50,
    b'"id":"x",',
    b" " * 9,
)


@dataclass
class Litter:
    """What became of it."""

    dropped: int = 0
    adopted: int = 0
    refused: int = 0
    left_alone: int = 0
    problems: list[str] = field(default_factory=list)


def strew(home: Path, *, names: int, bodies: int, seed: int = 1) -> Litter:
    """Drop them while a worker watches, wait until it has looked at all, and account for every byte."""
    rng = random.Random(seed)
    spool, found = Spool(home / "spool", create=True), Litter()
    (spool.path / "config.toml").write_text("settle = 0.5\nrescan = 1\n")
    (spool.path / "paused").touch()
    pending = os.fsencode(spool.path / "pending")
    worker = WorkerProcess(spool.path).wait_ready()
    before: Counter[bytes] = Counter()
    for number in range(names):
        data = json.dumps({"command": ["true"], "run_at": _LATER, "number": number}).encode()
        before[data] += _drop(pending, _random_name(rng), data)
    for number in range(bodies):
        data = _mutate(rng, json.dumps({"command": ["true"], "run_at": _LATER, "id": f"m{number}"}).encode())
        before[data] += _drop(pending, b"body %d.json" % number, data)
    found.dropped = before.total()
    _wait_until_quiet(spool, worker, found)
    worker.kill()
    after: Counter[bytes] = Counter()
    for state in checker.STATES:
        directory = os.fsencode(spool.path / state)
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), "rb") as file:
                data = file.read()
            after[data] += 1
            _account(spool, state, name, data, found)
    found.problems += [f"{count} files were lost: {data[:80]!r}" for data, count in (before - after).items()]
    found.problems += [f"{count} files came from nowhere: {data[:80]!r}" for data, count in (after - before).items()]
    return found


def _drop(pending: bytes, name: bytes, data: bytes) -> int:
    """1, or 0 where the name cannot be: it is taken."""
    path = os.path.join(pending, name)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return 0
    os.write(fd, data)
    os.close(fd)
    return 1


def _random_name(rng: random.Random) -> bytes:
    length = rng.choice((1, 3, 8, 30, 120, 240))
    kind = rng.randrange(4)
    if kind == 0:
        text = bytes(rng.choice([byte for byte in range(1, 256) if byte != 0x2F]) for _ in range(length))
    elif kind == 1:
        text = bytes(rng.choice(b"-._ aZ09%$'\"\n\x1b[*?~#") for _ in range(length))
    elif kind == 2:
        text = "".join(chr(rng.randrange(0x80, 0x2FFF)) for _ in range(length // 3 + 1)).encode()[:240]
    else:
        text = b"%03d-2026%04dT034300.%03dZ-%d-x" % tuple(rng.randrange(n) for n in (2000, 1300, 1100, 12))
    if text in (b".", b".."):
        text += b"x"
    return text[:249] + rng.choice((b".json", b".json", b".json", b".json", b"", b".tmp", b"~", b".json.swp"))


def _mutate(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.randrange(1, 12))
        data = rng.choice(
            (
                data[:at],
                data[:at] + data[to:],
                data[:at] + rng.choice(_PIECES) + data[at:],
                data[:at] + data[at:to] * 2 + data[to:],
                data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
                data * 2,
            )
        )
    return data


def _wait_until_quiet(spool: Spool, worker: WorkerProcess, found: Litter) -> None:
    """Until only canonical names and names that are none of ours are left, for which ten minutes are given."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        if worker.process.poll() is not None:
            found.problems.append(f"the worker ended: {worker.report.read_text()[-1000:]}")
            return
        names = os.listdir(spool.path / "pending")
        if not any(n.endswith(".json") and n[0] != "." and checker.parse("pending", n) is None for n in names):
            return
        time.sleep(0.2)
    found.problems.append(f"still not looked at: {names[:5]}")


def _account(spool: Spool, state: str, name: bytes, data: bytes, found: Litter) -> None:
    """A file is canonical and whole, or in the dead letters with a reason, or has a name that is left alone."""
    text = os.fsdecode(name)
    value = checker.parse(state, text)
    if value is None:
        found.left_alone += 1
        if state != "pending" or (text.endswith(".json") and not text.startswith(".")):
            found.problems.append(f"{state}/{text!r} was left lying")
    elif state == "dead":
        found.refused += 1
        log = spool.path / "logs" / f"{value[0]}.log"
        if value[2] != "invalid" or b" reason=" not in log.read_bytes():
            found.problems.append(f"{state}/{text} has no reason in its log")
    else:
        found.adopted += 1
        try:
            is_whole = isinstance(json.loads(data.decode("utf-8-sig")), dict)
        except ValueError:
            is_whole = False
        if not is_whole and checker.parse("pending", text) is None:
            found.problems.append(f"{state}/{text} is not a job: {data[:80]!r}")
