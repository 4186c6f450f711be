"""Draw docs/img/dashboard-*.png: a busy spool, made up, in a real Chromium.

.venv/bin/python -m tests.dashboard.pictures
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

from queuectl import Spool, State
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import Result
from queuectl.dashboard import app
from queuectl.dashboard.security import Policy
from queuectl.dashboard.snapshot import Snapshot
from queuectl.spool.system import lease, logs
from queuectl.spool.system.clock import now
from tests.dashboard import browser
from tests.dashboard.client import Client
from tests.dashboard.conftest import listening
from tests.support import wait_for

HOME = Path("/tmp/spool")
IMAGES = Path(__file__).parents[2] / "docs" / "img"
COMMANDS = {
    "report": "python report.py --month 2026-11 --format pdf",
    "transcode": "ffmpeg -i clip-{}.mov -c:v libx264 -crf 21 out/clip-{}.mp4",
    "publish": "make -C site publish",
    "feed": "curl -fsS https://example.com/feed.xml -o feed.xml",
    "train": "./train.sh --epochs 40 --seed {}",
}
SAID = (
    "ConnectionError: feed.example.com refused the connection", "KeyError: 'customer_{}'", "MemoryError",
    "FileNotFoundError: [Errno 2] No such file or directory: '/srv/media/clip-{}.mov'",
)  # fmt: skip
RESULTS = ("exit1", "exit1", "exit1", "timeout", "exit2", "lost", "exit127", "signal9", "cancelled")


def fill(spool: Spool, at: datetime) -> None:
    """Some thousand finished jobs of the last day, more of them lately, and some that wait."""
    rng, waits = random.Random(7), random.Random(7)
    for number in range(3441):
        kind = rng.choice([*COMMANDS])
        ended = at - timedelta(seconds=86000 * rng.random() ** 1.7 + 5)
        is_dead = number % 28 == 0
        result = Result.parse(rng.choice(RESULTS) if is_dead else "exit0")
        name = FinishedName(ended, 10, 4 if is_dead else 1, result, rng.randrange(90, 9000), f"{kind}-{number:04d}")
        _put(spool, State.DEAD if is_dead else State.DONE, name, COMMANDS[kind].replace("{}", f"{number}"))
        if is_dead:
            last = rng.choice(SAID).replace("{}", f"{number}")
            spool.log_path(name.id).write_text(f"#queuectl start attempt=4\n{last}\n")
        else:
            used = (
                f"used attempt=1 max_rss=26214400 cpu_user=1.000 cpu_system=0.100 waited={waits.expovariate(0.4):.3f}"
            )
            spool.log_path(name.id).write_text(f"#queuectl note {used}\n")
    for number in range(157):
        attempts = number % 8 == 0
        later = at + timedelta(seconds=60 + 40 * number)
        _put(spool, State.PENDING, PendingName(10, later, int(attempts), f"feed-{5000 + number}"), COMMANDS["feed"])


def run(spool: Spool, worker: str, ids: range, at: datetime) -> None:
    """Jobs that a worker runs, each with a log."""
    for number in ids:
        name = RunningName(at - timedelta(seconds=13), 10, 1, worker, f"encode-{number}")
        _put(spool, State.RUNNING, name, f"./encode.sh clip-{number}.mov --crf 21", timeout=3600, cwd="/srv/media")
        frames = (
            f"frame= {24 * frame:4} \x1b[36mfps= 48\x1b[0m q=28.0 size= {504 * frame:6}kB speed=\x1b[32m1.92x\x1b[0m"
            for frame in range(1, 25)
        )
        lines = [logs.format_start(name, "4711"), f"Input #0, mov, from clip-{number}.mov: 1920x1080, 25 fps", *frames]
        spool.log_path(name.id).write_text("\n".join(lines) + "\n")


def _put(
    spool: Spool, state: State, name: PendingName | RunningName | FinishedName, command: str, **more: object
) -> None:
    Path(spool.layout.job(state, name)).write_text(json.dumps({"command": command, **more}))


def main() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    spool, at = Spool(HOME, create=True), now()
    fill(spool, at)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, HOME)
        for slots, ids in ((4, range(481, 485)), (2, range(485, 486))):
            worker = stack.enter_context(lease.WorkerLease(spool.layout, "web1", {"slots": slots}))
            run(spool, worker.name, ids, at)
        snapshot = Snapshot(spool)
        stack.callback(snapshot.close)
        port = stack.enter_context(listening(app.make(spool, Policy(), snapshot)))
        window = stack.enter_context(browser.browser(stack.enter_context(browser.driver())))
        client = Client(port)
        window.resize(1280, 690)
        for picture, path, theme in (
            ("overview", "/", "light"),
            ("dead-letters", "/dead", "light"),
            ("job", "/jobs/encode-481", "dark"),
        ):
            window.prefer(theme, motion="reduce")
            window.go(client.address(path))
            window.wait("main")
            wait_for(lambda: "still to be read" not in window.wait("main").text, "the logs to be read")
            window.screenshot(IMAGES / f"dashboard-{picture}.png")


if __name__ == "__main__":
    main()
