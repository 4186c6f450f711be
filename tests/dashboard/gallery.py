"""Draw every page of the dashboard, of a bad night, at three widths, light and dark, to be looked at; and report what
axe-core finds in it, and what is wider than the screen.

.venv/bin/python -m tests.dashboard.gallery /tmp/gallery [PAGE...]
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from queuectl import Spool
from queuectl.dashboard import app
from queuectl.dashboard.security import Policy
from queuectl.dashboard.snapshot import Snapshot
from queuectl.spool.system.clock import now
from tests.dashboard import browser, night
from tests.dashboard.browser import Browser
from tests.dashboard.client import Client
from tests.dashboard.conftest import listening

SIZES = ((1440, 900), (1024, 768), (390, 844))
PAGES = {
    "overview": "/", "overview-week": "/?range=7d&group=etl", "jobs": "/jobs", "ready": "/jobs?state=ready",
    "waiting": "/jobs?state=waiting", "running": "/jobs?state=running", "done": "/jobs?state=done&sort=-took",
    "dead": "/dead", "dead-search": "/dead?q=timeout&in=logs", "empty": "/jobs?q=nothing+like+it",
    "job-dead": "/jobs/report-03", "job-running": "/jobs/etl.load-0007", "job-ready": "/jobs/etl.load.w3",
    "job-waiting": "/jobs/merge", "job-refused": "/jobs/nightly-export", "log-found": "/jobs/etl.load-0007?find=rows",
    "log-hit": "/jobs/etl.load-0007?line=40#L40", "groups": "/groups", "group": "/groups/etl/set",
    "schedules": "/schedules", "workers": "/workers", "refused": "/refused", "pause": "/pause",
    "set": "/jobs/vacuum/set", "edit": "/jobs/report-03/edit", "login": "/login", "missing": "/nope",
    "senseless": "/jobs?state=nope", "no-job": "/jobs/none", "change": "", "confirm": "",
}  # fmt: skip
_AXE = "return axe.run().then((result) => result.violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 150)}`))"


def show(window: Browser, client: Client, page: str) -> None:
    """Go to a page; some are reached by a form alone."""
    window.go(client.address(PAGES[page] or "/dead"))
    if page == "change":
        window.wait('.cause[data-key^="exit127"] button', "Fix").click()
        window.wait("#f-find").type("pyhton3")
        window.wait("#f-text").type("python3")
        window.wait("button.primary", "Preview").click()
        window.wait("#preview-title")
    elif page == "confirm":
        window.wait(".bulk [name=all]", "Drop all").click()
        window.wait("h1", "Drop")
    elif page in ("dead", "dead-search"):
        window.wait(".cause")


def main(folder: Path, pages: list[str]) -> None:
    found = importlib.util.find_spec("axe_core_python")
    axe = (Path(found.origin).parent / "axe.min.js").read_text() if found and found.origin else ""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        spool, at = Spool(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "spool", create=True), now()
        night.fill(spool, at)
        stack.enter_context(night.workers(spool, at))
        snapshot = Snapshot(spool)
        stack.callback(snapshot.close)
        client = Client(stack.enter_context(listening(app.make(spool, Policy(max_wait=600.0), snapshot))))
        window = stack.enter_context(browser.browser(stack.enter_context(browser.driver())))
        for page in pages:
            for width, height in SIZES:
                window.resize(width, height)
                for theme in ("light", "dark"):
                    window.prefer(theme, motion="reduce")
                    show(window, client, page)
                    window.wait("main")
                    window.screenshot(folder / f"{page}-{width}-{theme}.png", whole=True)
                    window.run(axe)
                    for violation in window.run(_AXE):
                        print(f"{page} {width} {theme}: {violation}")
                    wider = window.run("return document.documentElement.scrollWidth - innerWidth")
                    if wider > 0:
                        print(f"{page} {width} {theme}: {wider} px wider than the screen")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or [*PAGES])
