"""How many clicks an operator needs at three in the morning, from the overview, in a real Chromium."""

from __future__ import annotations

import os
from pathlib import Path

from queuectl import Spool, State
from queuectl.spool.system.clock import now
from tests.dashboard import night
from tests.dashboard.browser import TAB, Browser
from tests.dashboard.conftest import Serve
from tests.support import wait_for, workers


class Operator:
    """Clicks, and counts."""

    def __init__(self, window: Browser, home: str) -> None:
        self.window = window
        self._home = home
        self.clicks = 0

    def begin(self) -> None:
        self.window.go(self._home)
        self.clicks = 0

    def click(self, css: str, text: str = "") -> None:
        self.window.wait(css, text).click()
        self.clicks += 1

    def reads(self, css: str, text: str) -> bool:
        return bool(self.window.wait(css, text))


def test_clicks_of_a_bad_night(spool: Spool, serve: Serve, window: Browser, tmp_path: Path) -> None:
    """Why jobs fail 1, retry those of one kind 3, fix 15 and retry them 4, end a hung job 3, who runs what 1."""
    night.fill(spool, now(), done=100)
    spool.enqueue(f"touch {tmp_path}/up; sleep 600", id="hung", max_retries=0)
    operator = Operator(window, serve().address())
    counted: dict[str, int] = {}
    with workers(spool.path):
        wait_for((tmp_path / "up").exists, "the job that hangs")
        os.utime(spool.log_path("hung"), (0, 0))

        operator.begin()
        operator.click('[data-stat="dead"]')
        assert operator.reads(".cause .said", 'psycopg.OperationalError: connection to server at "N"')
        assert operator.reads(".cause .said", "/bin/sh: 1: /usr/bin/pyhton3: not found (N)")
        assert operator.reads(".cause .said", "No space left on device")
        counted["find why"] = operator.clicks

        operator.begin()
        operator.click('[data-stat="dead"]')
        wait_for(lambda: "228" in window.wait('.cause[data-key^="exit2"]').text, "all logs to be read")
        operator.click('.cause[data-key^="exit2"] button', "Retry")
        operator.click("button.primary", "Retry 228 jobs")
        assert operator.reads("#receipts", "Retried 228 jobs.")
        counted["retry one kind"] = operator.clicks

        operator.begin()
        operator.click('[data-stat="dead"]')
        operator.click('.cause[data-key^="exit127"] button', "Fix")
        window.wait("#f-find")  # has the focus
        window.press(f"pyhton3{TAB}python3")
        operator.click("button.primary", "Preview")
        assert operator.reads(".preview", f"{night.FIXED} of {night.FIXED} change")
        operator.click("button.primary", f"Change and retry {night.FIXED}")
        assert operator.reads("#receipts", f"Changed and retried {night.FIXED} jobs.")
        counted["fix 15"] = operator.clicks

        operator.begin()
        operator.click('[data-stat="running"]')
        assert operator.reads('[data-key="hung"] .said-at', "silent for")
        assert operator.reads('[data-key="hung"] .command', "sleep 600")
        assert window.wait('[data-key="hung"] .worker-cell').text
        counted["who runs what"] = operator.clicks
        operator.click('[data-key="hung"] [data-verb="kill"]')
        operator.click("button.danger")
        spool.wait("hung", timeout=30)
        counted["end a hung job"] = operator.clicks

    print(counted)
    assert spool.get("hung").state is State.DEAD
    assert counted == {
        "find why": 1, "retry one kind": 3, "fix 15": 4, "who runs what": 1, "end a hung job": 3,
    }  # fmt: skip
