"""What a person sees and does, in a real Chromium."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.dashboard import table
from queuectl.spool.system import pause, schedules
from tests.dashboard import browser as chromium
from tests.dashboard import hostile
from tests.dashboard.browser import ENTER, ESCAPE, TAB, Browser
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.spool.given import put, put_finished, running_name
from tests.support import wait_for, workers

FOCUSED = "return document.activeElement.textContent.trim() || document.activeElement.id"


def fill(spool: Spool) -> None:
    """Some of everything."""
    spool.enqueue("echo one && echo two", id="waiting", priority=1)
    spool.enqueue("true", id="tomorrow", run_at="2100-01-01T00:00:00Z")
    for number in range(6):
        put_finished(spool.layout, f"failed-{number}", "exit1" if number % 2 else "timeout", command=f"false {number}")
        put_finished(spool.layout, f"good-{number}", "exit0", State.DONE)
    put_finished(spool.layout, "broken", "invalid").write_text('{"command": "x",\n}')
    for id in ("failed-1", "good-1"):
        spool.log_path(id).write_text(
            "#queuectl start attempt=1 started_at=20261124T034300.120Z worker=web1.4242.k7f3 pid=1\n"
            "\x1b[1;31mred\x1b[0m output\n"
            "\n#queuectl end attempt=1 started_at=20261124T034300.120Z exit=1\n"
        )
    body = {"command": "./backup", "cron": "30 2 * * *", "timezone": "Europe/Vienna"}
    schedules.write(spool.layout, "nightly", json.dumps(body).encode())
    schedules.write(spool.layout, "wrong", b"{}")
    os.utime(spool.layout.schedule("wrong"), (0, 0))
    pause.write(spool.layout, "new disks", group="nightly")
    spool.log_path("broken").write_text('#queuectl refused file="nightly.json" reason="not valid JSON"\n')


PAGES = (
    "/",
    "/jobs",
    "/jobs?state=ready",
    "/dead",
    "/workers",
    "/schedules",
    "/groups",
    "/groups/nightly/set",
    "/pause",
    "/jobs/waiting/set",
    "/refused",
    "/jobs/failed-1",
    "/jobs/waiting",
    "/jobs/none",
    "/jobs?state=running",
    "/dead?q=output&in=logs",
    "/jobs/failed-1?find=output&hit=87",
)


def remember(window: Browser) -> None:
    """Leave something in the page that a reload would wipe out."""
    window.run("window.isSame = true")


def is_same(window: Browser) -> bool:
    return bool(window.run("return window.isSame === true"))


def test_job_lives_from_drop_to_done_without_a_reload(spool: Spool, client: Client, window: Browser) -> None:
    """The counters follow a dropped file to ready and done while the page stays the same."""
    window.go(client.address())
    window.wait("h2", "The queue is empty")
    remember(window)
    (spool.path / "pending" / "hello.json").write_text('{"command": "echo hello"}')
    window.wait("#alerts", "No worker is alive")
    with workers(spool.path):
        window.wait('[data-stat="done"][data-count="1"]')
        window.wait("#workers-title")
        window.wait(".who", "0 of 1 slot")
    assert window.find(".alert.bad:not([hidden])") == []
    assert is_same(window)


def test_log_grows_while_it_is_looked_at(spool: Spool, client: Client, window: Browser, tmp_path: Path) -> None:
    """New lines come by themselves, a line without its end too; the page says when the job is done."""
    gate = tmp_path / "gate"
    spool.enqueue(
        f"echo first; printf half; while [ ! -e {gate} ]; do sleep 0.05; done; echo -whole; echo last", id="x"
    )
    window.go(client.address("/jobs/x"))
    window.wait("#summary", "ready")
    remember(window)
    with workers(spool.path):
        window.wait("#lines div", "first")
        window.wait("#lines .partial", "half")
        window.wait("#summary", "running")
        gate.touch()
        window.wait("#lines div", "half-whole")
        window.wait("#lines div", "last")
        window.wait("#summary", "done")
        window.wait("#lines .mark", "attempt 1 ended: exit0")
        window.wait(".timeline .outcome", "exit0")
    assert is_same(window)
    assert (
        window.run(
            "return [...document.querySelectorAll('#lines div')].filter((e) => /^2?first$/.test(e.textContent)).length"
        )
        == 1
    )


def test_retry_from_the_dead_letters_and_undo(spool: Spool, client: Client, window: Browser) -> None:
    """One row, then some, then all: each with an operation, none with a reload; an undo puts back."""
    fill(spool)
    window.go(client.address("/dead"))
    window.wait('[data-key="failed-0"] [data-verb="retry"]').click()
    window.wait("#receipts", "Retried failed-0.")
    wait_for(lambda: not window.find('.row[data-key="failed-0"]'), "the row's leaving")
    window.wait("#receipts button", "Undo").click()
    window.wait("#receipts", "Undid")
    assert spool.get("failed-0").state is State.DEAD
    for number in (1, 2):
        window.wait(f'[data-key="failed-{number}"] input').click()
    assert window.wait("#ticked").text == "2 selected:"
    window.wait("[data-many]", "Retry").click()
    window.wait("#receipts", "Retried 2 jobs.")
    window.wait('[name="all"]', "Retry all").click()
    window.wait("h1", "Retry 4 jobs?")
    window.wait("button.primary").click()
    window.wait("#receipts", "Retried 4 jobs.")
    assert [job.id for job in spool.list((State.DEAD,))] == ["broken"]


def test_drop_names_what_it_deletes(spool: Spool, client: Client, window: Browser) -> None:
    """The confirmation lists the jobs; leaving it changes nothing."""
    fill(spool)
    window.go(client.address("/jobs/failed-3"))
    window.wait(".actions .danger").click()
    window.wait("h1", "Drop 1 job?")
    window.wait("a.button", "Go back").click()
    window.wait("h1", "failed-3")
    window.wait(".actions .danger").click()
    window.wait("button.danger", "Drop 1 job").click()
    wait_for(
        lambda: not (spool.path / "dead" / "20261124T034300.000Z-010-1-exit1-1.500s-failed-3.json").exists(), "the end"
    )


def test_filter_page_and_back(spool: Spool, client: Client, window: Browser) -> None:
    """The filter is in the address; the back button brings the list back as it was."""
    for number in range(130):
        put_finished(spool.layout, f"job-{number:03d}", "exit0", State.DONE, command=f"echo {number % 2}")
    window.go(client.address("/jobs?state=done"))
    window.wait(".pages", "1–100 of 130")
    window.wait('[rel="next"]').click()
    window.wait(".pages", "101–130 of 130")
    assert window.address.endswith("?state=done&start=100")
    window.back()
    window.wait(".pages", "1–100 of 130")
    window.wait("#q").type(f"echo 1{ENTER}")
    window.wait(".pages", "1–65 of 65")
    assert "q=echo+1" in window.address
    window.wait(".row a.id", "job-099").click()
    window.wait("h1", "job-099")
    window.back()
    window.wait(".pages", "1–65 of 65")
    assert window.wait("#q")("return e.value") == "echo 1"


def test_keyboard_alone_is_enough(spool: Spool, client: Client, window: Browser) -> None:
    """Search, move, tick, retry, open, help: without a pointer, and the focus can be seen."""
    fill(spool)
    window.go(client.address("/dead"))
    window.wait(".row")
    first, second = (row("return e.dataset.key") for row in window.find(".row")[:2])
    window.press("jj")
    assert window.run(FOCUSED) == second
    window.press("k")
    assert window.run(FOCUSED) == first
    assert window.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    window.press("x")
    assert window.wait("#ticked").text == "1 selected:"
    window.press("x")
    window.press("?")
    window.wait("dialog[open]")
    window.press(ESCAPE)
    wait_for(lambda: not window.find("dialog[open]"), "the dialog's end")
    window.press("/")
    assert window.run(FOCUSED) == "q"
    window.press("failed-2" + ENTER)
    wait_for(lambda: len(window.find(".row")) == 1, "the search")
    window.press("jr")
    window.wait("#receipts", "Retried failed-2.")
    window.press("gj")
    window.wait("h1", "Jobs")
    window.press("j" + ENTER)
    window.wait("h1.id")
    window.go(client.address("/jobs/failed-4"))
    window.wait("h1", "failed-4")
    window.press("r")
    window.wait("#receipts", "Retried failed-4.")
    window.press(TAB)
    assert window.run("return document.activeElement !== document.body")


def test_keys_and_buttons_ask_before_what_cannot_be_undone(spool: Spool, client: Client, window: Browser) -> None:
    """`r` on a done job and cancelling a running one lead to a question; the signal to send is chosen from any list."""
    fill(spool)
    put(spool.layout, running_name("long"), "sleep 9999", state=State.RUNNING)
    window.go(client.address("/jobs/good-1"))
    window.wait("h1", "good-1")
    window.press("r")
    window.wait("h1", "Run 1 job again?")
    assert spool.get("good-1").state is State.DONE
    window.go(client.address("/jobs?state=done"))
    window.wait(".row")
    window.press("jr")
    window.wait("h1", "Run 1 job again?")
    window.go(client.address("/jobs/long"))
    window.wait('[data-verb="cancel"]').click()
    window.wait("h1", "Cancel 1 job?")
    window.wait("a.button", "Go back").click()
    window.wait("h1", "long")
    window.go(client.address("/jobs?state=running"))
    window.wait(".row input").click()
    window.wait("[data-many]", "Send a signal").click()
    window.wait("h1", "Send a signal to 1 job?")
    window.wait("#signal").type("HUP")
    window.wait("button.danger").click()
    window.wait("#receipts", "no process of long is on this host")
    assert window.find(".receipt.bad")
    assert spool.get("long").state is State.RUNNING


def test_question_stays_when_a_job_has_changed_state(spool: Spool, client: Client, window: Browser) -> None:
    """A page that still shows a running job as waiting asks before it cancels it, and no update hides the question."""
    before = spool.enqueue("sleep 9999", id="x")
    window.go(client.address("/jobs/x"))
    window.wait('[data-verb="cancel"]')
    window.run("window.original = window.fetch; document.body.dataset.live = 'no'")
    Path(before.path).rename(spool.layout.job(State.RUNNING, running_name("x")))
    window.run("document.querySelector('[data-verb=\"cancel\"]').click()")
    window.wait("h1", "Cancel 1 job?")
    assert window.run("return document.body.dataset.live") == "no"
    assert spool.get("x").state is State.RUNNING


def test_updates_disturb_nobody(spool: Spool, client: Client, window: Browser) -> None:
    """While rows come and go, focus, selected text, ticks, half-typed words, open details and scroll stay."""
    fill(spool)
    window.resize(1280, 400)
    window.go(client.address("/dead"))
    window.wait('[data-key="failed-3"] input').click()
    window.wait("#q").click()
    window.press("half")
    window.run("getSelection().selectAllChildren(document.querySelector('[data-key=\"failed-4\"] .command'))")
    window.run("document.querySelector('#q').focus({preventScroll: true}); scrollTo(0, 150)")
    put_finished(spool.layout, "newcomer", "exit2").rename(
        spool.path / "dead" / "20991124T034300.000Z-010-1-exit2-1.500s-newcomer.json"
    )
    window.wait(".row", "newcomer")
    state = window.run(
        "return [document.activeElement.id, document.querySelector('#q').value, scrollY,"
        " document.querySelector('[data-key=\"failed-3\"] input').checked,"
        " document.querySelectorAll('input:checked').length]"
    )
    assert state == ["q", "half", 150, True, 1]
    window.go(client.address("/jobs/failed-1"))
    window.wait("summary").click()
    window.run("getSelection().selectAllChildren(document.querySelector('#the-command'))")
    spool.retry("failed-1")
    window.wait("#summary", "ready")
    assert window.run("return [document.querySelector('details').open, getSelection().toString()]") == [True, "false 1"]


def test_hidden_page_asks_for_nothing(client: Client, window: Browser) -> None:
    """Polling stops when the page is hidden and continues when it shows again."""
    window.go(client.address())
    window.run(
        "window.asked = 0; const original = window.fetch;"
        "window.fetch = (...a) => { window.asked += 1; return original(...a); }"
    )
    wait_for(lambda: window.run("return window.asked"), "polling")
    hide = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange')); window.asked = 0;"
    window.run(hide, True)
    asked = window.run(
        "const start = window.asked; window.ticks = 0; setInterval(() => window.ticks += 1, 500); return start"
    )
    wait_for(lambda: window.run("return window.ticks") >= 5, "some seconds of the page's own time")
    assert window.run("return window.asked") == asked
    window.run(hide, False)
    wait_for(lambda: window.run("return window.asked"), "polling again")


def test_theme_follows_the_system_until_one_is_chosen(client: Client, window: Browser) -> None:
    """The system's theme is followed until one is chosen, which is kept."""
    paper = "return getComputedStyle(document.body).backgroundColor"
    window.go(client.address())
    light = window.run(paper)
    window.prefer("dark")
    dark = window.run(paper)
    assert light != dark
    window.wait("#theme").click()
    assert window.run(paper) == light
    window.go(client.address("/jobs"))
    assert window.run(paper) == light
    window.wait("#theme").click()
    window.prefer("light")
    assert window.run(paper) == dark
    window.wait("#theme").click()
    assert window.run(paper) == light


def test_animations_are_off_under_reduced_motion(spool: Spool, client: Client, window: Browser) -> None:
    """No animation runs under prefers-reduced-motion."""
    fill(spool)
    window.prefer("light", motion="reduce")
    window.go(client.address("/dead"))
    window.wait('[data-verb="retry"]').click()
    window.wait("#receipts", "Retried")
    assert window.run("return document.getAnimations().length") == 0


def test_loss_of_the_server_is_reported(spool: Spool, client: Client, window: Browser) -> None:
    """A page that cannot be renewed says so; it forgets that once it can."""
    window.go(client.address())
    window.run(
        "window.original = window.fetch; window.fetch = () => Promise.reject(new Error('down'));live.ask(); live.ask()"
    )
    wait_for(lambda: window.find("#offline:not([hidden])"), "the note")
    window.run("window.fetch = window.original; live.ask()")
    wait_for(lambda: not window.find("#offline:not([hidden])"), "its end")


def test_hostile_text_runs_nothing(spool: Spool, client: Client, window: Browser) -> None:
    """With the corpus in every field no script of its runs, whatever is opened or updated."""
    hostile.fill(spool)
    for path in (
        "/",
        "/jobs",
        "/dead",
        "/refused",
        "/workers",
        "/jobs/running-0",
        "/jobs/dead-1",
        "/jobs/pending-3",
        "/jobs/refused-3",
    ):
        window.go(client.address(path))
        window.run("live.ask()")
        assert "pwned" not in window.title
        assert window.run("return document.querySelectorAll('img, iframe, script:not([src])').length") == 0


def test_fifteen_jobs_are_fixed_in_six_clicks(spool: Spool, client: Client, window: Browser) -> None:
    """From the overview: open the dead letters, choose why, replace, look, retry; an undo brings all of them back."""
    for number in range(15):
        put_finished(spool.layout, f"bad-{number}", command=f"./run --in /old/{number}")
        spool.log_path(f"bad-{number}").write_text(f"#queuectl start attempt=1\nno such file: /old/{number}\n")
    put_finished(spool.layout, "other", "timeout")
    window.go(client.address("/"))
    window.wait('#nav a[href="/dead"]').click()
    window.wait(".cause", "no such file: /…")
    window.wait(".cause button", "Fix…").click()
    window.wait("#f-find").type("/old/")
    window.wait("#f-text").type("/new/")
    window.wait("button", "Preview").click()
    window.wait("#preview-title", "15 of 15 change")
    window.wait("button", "Change and retry 15").click()
    window.wait("#receipts", "Changed and retried 15 jobs.")
    assert {str(job.command)[:14] for job in spool.list(State.PENDING)} == {"./run --in /ne"}
    window.wait("#receipts button", "Undo").click()
    window.wait("#receipts", "Undid: changed and retried 15 jobs.")
    assert {str(job.command)[:14] for job in spool.list(State.DEAD) if job.id != "other"} == {"./run --in /ol"}


def test_charts_say_their_numbers_to_keys_and_pointers(spool: Spool, client: Client, window: Browser) -> None:
    """A bar that is chosen by the arrow keys or touched has its numbers below the chart; a table has them all."""
    fill(spool)
    wait_for(lambda: client.get("/?range=7d").text.count('class="chart') == 3, "what the charts show")
    window.go(client.address("/?range=7d"))
    window.wait("#ended-title")
    window.run("document.querySelector('.chart').focus()")
    window.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'End', bubbles: true}))")
    assert "0 done, 0 dead" in window.wait(".reading", "done,").text
    window.run(
        "const c = document.querySelectorAll('.chart')[1], b = c.getBoundingClientRect();"
        "c.dispatchEvent(new PointerEvent('pointerdown', {bubbles: true, clientX: b.left + 1, clientY: b.top + 5}))"
    )
    window.wait(".reading", "up to 0.1 s: 0")


def test_search_in_logs_continues_by_itself(
    spool: Spool, client: Client, window: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a click it goes through all logs, and says how many it has found in how many."""
    monkeypatch.setattr(table, "_LOG_SEARCH_TIME", 0.0)
    for number in range(5):
        put_finished(spool.layout, f"job-{number}")
        spool.log_path(f"job-{number}").write_text(f"{'needle' if number % 2 else 'hay'}\n")
    window.go(client.address("/dead"))
    window.wait('.row[data-key="job-4"]')
    window.go(client.address("/dead?q=needle&in=logs"))
    window.wait("#looked", "2 found in 5 of 5 logs")
    assert sorted(row("return e.dataset.key") for row in window.find(".row")) == ["job-1", "job-3"]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(spool: Spool, client: Client, window: Browser, theme: str, width: int) -> None:
    """No page violates a rule of axe-core, wide or on a phone, light or dark; and none is wider than its screen."""
    found = importlib.util.find_spec("axe_core_python")
    assert found is not None
    assert found.origin is not None
    axe = (Path(found.origin).parent / "axe.min.js").read_text()
    look = (
        "return axe.run().then((result) =>"
        " result.violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]))"
    )
    fill(spool)
    put(spool.layout, running_name(id="runs.too"), state=State.RUNNING, command="sleep 9")
    window.prefer(theme, motion="reduce")
    window.resize(width, 900)
    for path in (*PAGES, "change"):
        if path == "change":
            window.go(client.address("/dead"))
            window.wait(".cause button", "Fix…").click()
            window.wait("#f-find").type(f"false{ENTER}")
            window.wait("#preview-title")
        else:
            window.go(client.address(path))
        window.wait("main")
        window.run(axe)
        violations = window.run(look)
        assert violations == [], f"{path}: {json.dumps(violations, indent=1)}"
        assert window.run("return document.documentElement.scrollWidth <= innerWidth"), path


def test_print_is_dark_on_white(spool: Spool, client: Client, window: Browser) -> None:
    """Also of a dark page, and of its log; no button is on paper."""
    fill(spool)
    window.prefer("dark")
    window.go(client.address("/jobs/failed-1"))
    window.wait("#lines")
    window.emulate("Emulation.setEmulatedMedia", media="print", features=[])
    try:
        colors = "return [...arguments].map((css) => { const s = getComputedStyle(document.querySelector(css));"
        ink, log, line = window.run(f"{colors} return s.color; }})", "h1", "#lines", "#lines > div")
        assert [ink, log, line] == ["rgb(23, 25, 30)", "rgb(0, 0, 0)", "rgb(0, 0, 0)"]
        (paper,) = window.run(f"{colors} return s.backgroundColor; }})", "#lines")
        assert paper == "rgba(0, 0, 0, 0)"
        assert window.run("return [...document.querySelectorAll('button')].every((each) => !each.offsetParent)")
    finally:
        window.emulate("Emulation.setEmulatedMedia", media="", features=[])


@pytest.fixture
def plain_window(driver: int) -> Iterator[Browser]:
    """A browser whose scripts are switched off."""
    with chromium.browser(driver, scripts=False) as opened:
        yield opened


def test_pages_work_without_scripts(spool: Spool, serve: Serve, plain_window: Browser) -> None:
    """Everything is there and can be done: look, filter, page, retry, undo, drop with its confirmation."""
    fill(spool)
    client, window = serve(), plain_window
    window.go(client.address("/"))
    assert window.find("html.has-js") == []
    shown = {stat("return e.dataset.stat"): stat("return e.dataset.count") for stat in window.find(".stat")}
    assert (shown["ready"], shown["scheduled"], shown["dead"]) == ("1", "1", "7")
    window.wait('a[href="/dead"]').click()
    window.wait('.row[data-key="failed-2"] [data-verb="retry"]').click()
    window.wait("#receipts", "Retried failed-2.")
    window.wait("#receipts button", "Undo").click()
    window.wait("#receipts", "Undid")
    window.wait("#q").type("failed-4")
    window.wait(".filter button").click()
    window.wait(".pages", "1–1 of 1")
    window.wait(".row a.id", "failed-4").click()
    window.wait("h1", "failed-4")
    window.wait(".actions .danger").click()
    window.wait("h1", "Drop 1 job?")
    window.wait("button.danger").click()
    wait_for(lambda: spool.counts().dead == 6, "the drop")
    window.go(client.address("/jobs/failed-1"))
    window.wait("#lines", "red output")


def test_job_is_changed_and_what_was_typed_is_never_lost(spool: Spool, client: Client, window: Browser) -> None:
    """From the job's page to the form; a mistake is shown beside what was typed; fixed, it leads back to the job."""
    spool.enqueue("true", id="x", run_at="2100-01-01T00:00:00Z")
    window.go(client.address("/jobs/x"))
    window.wait(".actions a", "Change").click()
    window.wait("#f-timeout").type("long")
    window.wait("#f-set_env").type("RATE=slow")
    window.wait("button.primary", "Save").click()
    window.wait("#wrong-timeout", "not a duration")
    assert window.run("return document.getElementById('f-set_env').value") == "RATE=slow"
    timeout = window.wait("#f-timeout")
    assert timeout("return e.value") == "long"
    timeout("e.value = ''")
    timeout.type(f"5m{ENTER}")
    window.wait("#receipts", "Changed x.")
    assert window.address == client.address("/jobs/x")
    assert (spool.get("x").fields or {}).items() >= {"timeout": 300, "env": {"RATE": "slow"}}.items()


def test_queue_is_paused_and_resumed(spool: Spool, client: Client, window: Browser) -> None:
    """Two clicks pause it, one resumes it without leaving the page."""
    window.go(client.address())
    window.wait("a.button", "Pause the queue").click()
    window.wait("#f-reason").type(f"new disks{ENTER}")
    window.wait(".alert.warn", "new disks")
    assert spool.is_paused()
    remember(window)
    window.wait(".alert button", "Resume").click()
    wait_for(lambda: not window.find(".alert.warn"), "the end of the pause")
    assert not spool.is_paused()
    assert is_same(window)
