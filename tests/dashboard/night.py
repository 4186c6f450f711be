"""A bad night, made up: 700 failures of three kinds among some thousand jobs, groups, schedules, a hung job, and a
brake. What an operator finds at three in the morning, for pictures and for the count of clicks."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from queuectl import Spool, State
from queuectl.core.names import FinishedName, Name, PendingName, RunningName
from queuectl.core.result import Result
from queuectl.core.seats import parse
from queuectl.spool.system import groups as group_files
from queuectl.spool.system import lease, logs, pause, schedules, seats
from queuectl.spool.system.clock import now

FAILURES = 700
FIXED = 15
"""Jobs that failed for a mistake in their command."""
HUNG = "etl.load-0007"
_KINDS = (
    ("etl.load", "python -m etl.load --table orders --part {}", "exit1",
     "psycopg.OperationalError: connection to server at \"10.2.0.{}\", port 5432 failed: timeout expired"),
    ("thumbs", "./thumbnail.sh /srv/media/clip-{}.mov", "exit2", "clip-{}.mov: No space left on device"),
)  # fmt: skip


def fill(spool: Spool, at: datetime, done: int = 2400) -> None:
    """The spool as it is at that time, but for the workers."""
    rng = random.Random(3)
    for number in range(done):
        kind = rng.choice(("etl.load", "etl.extract", "thumbs", "mail"))
        ended = at - timedelta(seconds=86000 * rng.random() ** 1.4 + 5)
        took = max(0.05, rng.gauss(95 if kind == "etl.load" else 8, 20))
        command = {"mail": "./send-mail.py --batch {}", "thumbs": _KINDS[1][1]}.get(kind, "python -m {} --part {{}}")
        name = FinishedName(ended, 10, 1, Result.exit(0), round(took * 1000), f"{kind}-{number:04d}" if kind == "mail"
                            else f"{kind}.{number:04d}")  # fmt: skip
        put(spool, State.DONE, name, command.format(kind).format(number), at=ended - timedelta(seconds=took + 3))
        used = f"used attempt=1 max_rss=26214400 cpu_user=1.000 cpu_system=0.100 waited={rng.expovariate(0.2):.3f}"
        spool.log_path(name.id).write_text(f"{number} rows\n#queuectl note {used}\n")
    for number in range(FAILURES - FIXED):
        group, command, result, said = _KINDS[number % 3 == 2]
        ended = at - timedelta(seconds=20 + 900 * rng.random())
        name = FinishedName(ended, 10, 4, Result.parse(result), rng.randrange(5000, 12000), f"{group}.f{number:04d}")
        put(spool, State.DEAD, name, command.format(number), at=ended - timedelta(hours=1))
        write_log(spool, name.id, 4, said.format(number))
    for number in range(FIXED):
        name = FinishedName(at - timedelta(seconds=60 + number), 10, 4, Result.exit(127), 12, f"report-{number:02d}")
        put(spool, State.DEAD, name, f"/usr/bin/pyhton3 report.py --month {number}", at=at - timedelta(hours=1))
        write_log(spool, name.id, 4, f"/bin/sh: 1: /usr/bin/pyhton3: not found ({number})")
    for number in range(130):
        due = at - timedelta(minutes=14, seconds=-number)
        command = f"python -m etl.load --table orders --part {number}"
        put(spool, State.PENDING, PendingName(10, due, 0, f"etl.load.w{number}"), command)
    for number in range(24):
        put(spool, State.PENDING, PendingName(10, at + timedelta(minutes=number + 1), number % 3, f"mail-x{number}"),
            f"./send-mail.py --batch {number}")  # fmt: skip
    spool.enqueue("python -m etl.merge", id="merge", after=["etl.load.w0", "etl.load.w1", "etl.load.w2"])
    spool.enqueue("./publish.sh", id="publish", after=["merge"])
    spool.hold(spool.enqueue("./vacuum.sh", id="vacuum"))
    broken = FinishedName(at - timedelta(hours=2), 10, 0, Result.parse("invalid"), 0, "nightly-export")
    Path(spool.layout.job(State.DEAD, broken)).write_text('{"command": "./export",\n}')
    spool.log_path(broken.id).write_text('#queuectl refused file="nightly-export.json" reason="not valid JSON"\n')
    for group, key, value in (("etl", "limit", "4"), ("etl", "max-failed", "5%"), ("thumbs", "limit", "8")):
        group_files.write(spool.layout, group, key, value)
    pause.write(
        spool.layout,
        "more than 5% of its jobs failed",
        group="etl",
        counted=pause.counted_from(spool.layout, now, "etl"),
    )
    for name_, when in (("nightly", "30 2 * * *"), ("hourly", "5 * * * *")):
        body = {"command": f"./{name_}.sh", "cron": when, "timezone": "Europe/Vienna"}
        schedules.write(spool.layout, name_, json.dumps(body).encode())


@contextmanager
def workers(spool: Spool, at: datetime) -> Iterator[None]:
    """Two living workers and what they run: most of it normal, one job that has hung for 40 minutes, one late."""
    with ExitStack() as stack:
        first = stack.enter_context(lease.WorkerLease(spool.layout, "web1", {"slots": 8})).name
        second = stack.enter_context(lease.WorkerLease(spool.layout, "web2", {"slots": 4})).name
        for number in range(9):
            is_hung = number == 7
            since = at - timedelta(minutes=43 if is_hung else 0, seconds=7 * number + 3)
            name = RunningName(since, 10, 1, first if number % 3 else second, f"etl.load-{number:04d}")
            put(spool, State.RUNNING, name, f"python -m etl.load --table orders --part {number}", timeout=7200)
            path = spool.log_path(name.id)
            rows = (f"\x1b[36m{1000 * row:7,}\x1b[0m rows of orders \x1b[32mok\x1b[0m" for row in range(1, 60))
            path.write_text("\n".join((logs.format_start(name, "4711"), "connecting to db1…", *rows)) + "\n")
            touched = (at - timedelta(minutes=38 if is_hung else 0)).timestamp()
            os.utime(path, (touched, touched))
        group_files.write(spool.layout, "gpu", "seats", "4")
        for number in range(2):
            name = RunningName(at - timedelta(minutes=12, seconds=number), 10, 1, second, f"gpu.train-{number}")
            put(spool, State.RUNNING, name, f"python train.py --fold {number}")
            stack.callback(seats.give_back, spool.layout, [_seat(spool, name.id)])
        (spool.path / "pending" / "import.json").write_text('{"command": "./import.sh')
        yield


def _seat(spool: Spool, id: str) -> seats.Taken:
    taken = seats.take(spool.layout, "gpu", parse("4"), 1, id)
    assert taken is not None
    return taken


def put(spool: Spool, state: State, name: Name, command: str, *, at: datetime | None = None, **more: object) -> None:
    """A job's file, submitted at that time."""
    path = Path(spool.layout.job(state, name))
    path.write_text(json.dumps({"command": command, **more}))
    if at is not None:
        os.utime(path, (at.timestamp(), at.timestamp()))


def write_log(spool: Spool, id: str, attempts: int, last: str) -> None:
    """A log of that many attempts, each of which ended with that line."""
    one = "\n".join(("starting", "Traceback (most recent call last):", '  File "load.py", line 88, in main', last))
    text = ""
    for number in range(1, attempts + 1):
        name = RunningName(now(), 10, number, "web1.1.aaaa", id)
        text += f"{logs.format_start(name, '1')}\n{one}\n\n{logs.format_end(name, 'exit=1')}\n"
    spool.log_path(id).write_text(text)
