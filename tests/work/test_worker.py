"""The worker with real processes: order, time, retries, timeouts, and what its jobs see."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import Job, Spool
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.spool.moves import claims
from queuectl.spool.system import clock, processes, settings
from queuectl.spool.system.layout import Layout
from queuectl.work import intake
from tests.support import CommandLine, WorkerProcess, names, wait_for, workers
from tests.work.conftest import StartWorker


def drain(spool: Spool, *words: str) -> WorkerProcess:
    """Run a worker until nothing is left."""
    worker = WorkerProcess(spool.path, "--drain", *words)
    assert worker.wait_exit() == 0, worker.report.read_text()
    return worker


def result(spool: Spool, id: str) -> str:
    return f"{spool.get(id).result}"


def output(spool: Spool, cli: CommandLine, id: str) -> str:
    return cli.ok("logs", id)


def test_jobs_start_in_the_order_of_ls(spool: Spool, cli: CommandLine) -> None:
    """Strict priority, then run_at, then id, whatever the order of submission."""
    past = clock.now() - timedelta(hours=1)
    for id, priority, age in [("d", 20, 0), ("c", 10, 0), ("b", 10, 0), ("a", 10, 5), ("z", 0, 0)]:
        spool.enqueue("true", id=id, priority=priority, run_at=past + timedelta(seconds=age))
    expected = [PendingName.parse(name).id for name in names(spool.path / "pending")]  # type: ignore[union-attr]
    worker = drain(spool, "--count", "1")
    started = [event["job"] for event in worker.events() if event["event"] == "start"]
    assert started == expected == ["z", "b", "c", "a", "d"]


def test_dropped_files_start_in_the_order_of_their_priorities(spool: Spool) -> None:
    """Of files that a worker finds when it starts, adopted or not, the most urgent starts first."""
    spool.enqueue("true", id="queued", priority=5)
    for priority in (7, 3, 9, 1):
        text = json.dumps({"command": "true", "id": f"p{priority}", "priority": priority})
        (spool.path / "pending" / f"{9 - priority}.json").write_text(text)
    worker = WorkerProcess(spool.path, "--drain")
    assert worker.wait_exit() == 0
    started = [event["job"] for event in worker.events() if event["event"] == "start"]
    assert started == ["p1", "p3", "queued", "p7", "p9"]


def test_urgent_job_overtakes_a_long_queue(spool: Spool) -> None:
    """A job that arrives while others wait starts next if its priority is better."""
    list(spool.enqueue_many({"command": "sleep 0.05", "id": f"slow{n:02d}"} for n in range(40)))
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("done"))
        spool.enqueue("true", id="urgent", priority=0)
        spool.wait("urgent", timeout=20)
        assert spool.counts().ready > 10


def test_scheduled_job_starts_when_it_is_due(spool: Spool) -> None:
    """Not before its time by the wall clock, and without waiting for the slow beat."""
    due = clock.now() + timedelta(seconds=1.5)
    with workers(spool.path) as (worker,):
        spool.enqueue("true", id="later", run_at=due)
        job = spool.wait("later", timeout=8)
    start = next(event for event in worker.events() if event["event"] == "start")
    assert start["at"] >= due.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert job.finished_at is not None


def test_failed_job_waits_its_backoff_without_holding_a_slot(spool: Spool) -> None:
    """While one job waits for its retry, the only slot runs another."""
    spool.enqueue("false", id="failing", priority=0, max_retries=1, backoff_base=60)
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("retry", "failing"))
        spool.enqueue("true", id="other")
        spool.wait("other", timeout=20)
        failing = spool.get("failing")
        assert failing.attempts == 1
        assert failing.run_at is not None
        assert failing.run_at > clock.now() + timedelta(seconds=30)


def test_retries_end_in_the_dead_letters(spool: Spool) -> None:
    """max_retries = 2 means three attempts, each in the log, and then dead with the last result."""
    spool.enqueue("echo try $QUEUECTL_ATTEMPT; exit 7", id="x", max_retries=2, backoff_base=0)
    drain(spool)
    job = spool.get("x")
    assert (f"{job.state}", f"{job.result}", job.attempts) == ("dead", "exit7", 3)
    log = spool.log_path("x").read_text()
    assert [line for line in log.splitlines() if line.startswith("try")] == ["try 1", "try 2", "try 3"]


def test_exit_codes_decide_on_retries(spool: Spool) -> None:
    """A code that is not to be retried ends the job at its first attempt, and the report says so."""
    settings.store(spool.layout, "permanent-codes", "qmail")
    spool.enqueue("exit 100", id="permanent", backoff_base=0)
    spool.enqueue("exit 111", id="temporary", max_retries=1, backoff_base=0)
    spool.enqueue("exit 3", id="own", no_retry_on=[3])
    spool.enqueue("exit 4", id="other", retry_on=[5])
    worker = drain(spool)
    attempts = {id: spool.get(id).attempts for id in ("permanent", "temporary", "own", "other")}
    assert attempts == {"permanent": 1, "temporary": 2, "own": 1, "other": 1}
    dead = next(event for event in worker.events() if event["event"] == "dead" and event["job"] == "permanent")
    assert "not retried" in dead["message"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", "exit0"),
        ("exit 200", "exit200"),
        ("no-such-command", "exit127"),
        ("kill -9 $$", "signal9"),
        ("kill -TERM $$", "signal15"),
        ("if then", "exit2"),
        ("echo one\nif then", "exit2"),
        ("exec sh -c 'exit 5'", "exit5"),
        ("trap 'exit 6' EXIT; true", "exit6"),
        (["sh", "-c", "exit 8"], "exit8"),
        (["sh", "-c", "kill -9 $$"], "signal9"),
        (["no-such-command"], "exit127"),
        ("exec 9>/dev/null; exit 4", "exit4"),
        ("set -e; false; true", "exit1"),
    ],
)
def test_results(spool: Spool, command: str | list[str], expected: str) -> None:
    """Each way to end is in the name, and in one end line of the log."""
    spool.enqueue(command, id="x", max_retries=0)
    drain(spool)
    assert result(spool, "x") == expected
    log = spool.log_path("x").read_text()
    assert log.count("\n#queuectl end attempt=1 ") == 1
    assert log.count("#queuectl start attempt=1 ") == 1


def test_job_sees_its_environment(spool: Spool, cli: CommandLine, tmp_path: Path) -> None:
    """Its own variables, those of queuectl, its directory, and nothing on stdin."""
    spool.enqueue("env; pwd; cat; echo end", id="x", env={"COLOUR": "blue\nüber"}, cwd=str(tmp_path))
    worker = drain(spool)
    lines = output(spool, cli, "x").splitlines()
    name = next(event for event in worker.events() if event["event"] == "worker")["message"].split()[0]
    for line in (
        "QUEUECTL_JOB_ID=x", "QUEUECTL_ATTEMPT=1", f"QUEUECTL_SPOOL={spool.path}", f"QUEUECTL_WORKER={name}",
        "COLOUR=blue", "über", f"{tmp_path}", "end",
    ):  # fmt: skip
        assert line in lines
    assert any(line.startswith("QUEUECTL_TOKEN=") for line in lines)


def test_job_inherits_nothing_but_its_log(spool: Spool, cli: CommandLine) -> None:
    """No descriptor of the worker leaks into its jobs: stdin is null, 1, 2 and 9 are the log."""
    spool.enqueue("ls -l /proc/$$/fd", id="x")
    with workers(spool.path):
        spool.wait("x", timeout=20)
    links = dict(re.findall(r" (\d+) -> (\S+)", output(spool, cli, "x")))
    log = str(spool.log_path("x"))
    assert links == {"0": "/dev/null", "1": log, "2": log, "9": log}


def test_array_runs_as_it_is(spool: Spool, cli: CommandLine) -> None:
    """No word is split, expanded or lost."""
    spool.enqueue(["printf", "%s|", "a b", "", "$HOME", "*", "'", '"', "\\n"], id="x")
    drain(spool)
    assert output(spool, cli, "x") == "a b||$HOME|*|'|\"|\\n|"


def test_line_numbers_in_shell_errors_stay_true(spool: Spool, cli: CommandLine) -> None:
    """What is put before a command shares its first line."""
    spool.enqueue("true\nno-such-command", id="x", max_retries=0)
    drain(spool)
    assert "2: " in output(spool, cli, "x")


def test_missing_directory_fails_the_attempt(spool: Spool, cli: CommandLine) -> None:
    """The command does not run anywhere else."""
    spool.enqueue("echo ran", id="x", cwd="/no/such/directory", max_retries=0)
    drain(spool)
    assert result(spool, "x") == "exit126"
    assert "ran" not in output(spool, cli, "x").splitlines()


@pytest.mark.parametrize(
    "command",
    [
        "sleep 600",
        "sleep 600 & sleep 600 & wait",
        "trap '' TERM; sleep 600; sleep 600",
        "setsid sleep 600 & sleep 600",
        ["sleep", "600"],
    ],
)
def test_timeout_ends_every_process_of_the_job(spool: Spool, cli: CommandLine, command: str | list[str]) -> None:
    """TERM, grace, KILL, also for children in other sessions or deaf to TERM; the attempt is `timeout`."""
    cli.ok("config", "set", "grace", "0.3")
    spool.enqueue(command, id="x", timeout=0.3, max_retries=0)
    drain(spool)
    assert result(spool, "x") == "timeout"
    assert not _carriers(spool)


def _carriers(spool: Spool) -> list[str]:
    """Processes that some job of this spool has left."""
    mark = f"QUEUECTL_SPOOL={spool.path}".encode()
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdecimal() and mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                found.append(Path(f"/proc/{entry}/cmdline").read_text())
        except OSError:
            continue
    return found


def test_job_that_obeys_term_has_the_grace_to_clean_up(spool: Spool, cli: CommandLine) -> None:
    """After SIGTERM a job may still finish what it must; it ends as `timeout` nevertheless."""
    command = "trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.01; done"
    spool.enqueue(["sh", "-c", command], id="x", timeout=0.3, max_retries=0)
    drain(spool)
    assert result(spool, "x") == "timeout"
    assert "cleaned" in output(spool, cli, "x")


def test_names_that_are_gone_are_not_claimed_after_a_lost_race(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that finds one job taken looks whether the next are still there, and misses none that are."""
    jobs = [job for job in spool.enqueue_many([{"command": "true"}] * 20) if isinstance(job, Job)]
    ids = [job.id for job in sorted(jobs, key=lambda job: str(job.name))]
    claim = claims.claim
    tried: list[str] = []

    def lost_at_first(layout: Layout, name: PendingName, *others: Any) -> Any:
        if not tried:
            for path in sorted((spool.path / "pending").iterdir())[:15]:
                path.unlink()
        tried.append(name.id)
        return claim(layout, name, *others)

    monkeypatch.setattr(claims, "claim", lost_at_first)
    with in_process(drain=True) as running:
        wait_for(lambda: running.has("done", ids[-1]), "the last job")
    assert tried == [ids[0], *ids[15:]]


def test_daemon_left_behind_keeps_no_job_from_ending(spool: Spool, tmp_path: Path) -> None:
    """A background process outlives its job, which is done at once, and can be retried before the process ends."""
    stop = tmp_path / "stop"
    spool.enqueue(f"(while [ ! -e {stop} ]; do sleep 0.05; done) & true", id="x")
    with workers(spool.path):
        spool.wait("x", timeout=20)
        spool.retry("x")
        assert spool.wait("x", timeout=20).attempts == 1
        assert _carriers(spool)
        stop.touch()
        wait_for(lambda: not _carriers(spool))


def test_paused_means_that_nothing_starts(spool: Spool) -> None:
    """`touch paused` holds every job back; `rm paused` lets them go at once."""
    (spool.path / "paused").touch()
    with workers(spool.path) as (worker,):
        spool.enqueue("true", id="x")
        wait_for(lambda: worker.has("paused"))
        spool.enqueue("true", id="y")
        assert not worker.has("start")
        (spool.path / "paused").unlink()
        spool.wait("x", timeout=8)
        spool.wait("y", timeout=8)


def test_job_never_starts_without_room_to_record_its_end(spool: Spool, cli: CommandLine) -> None:
    """Below min-free the worker says why it waits, and continues when there is room."""
    cli.ok("config", "set", "min-free", "1000T")
    cli.ok("config", "set", "rescan", "0.2")
    spool.enqueue("true", id="x")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("warning"))
        assert spool.get("x").state == "pending"
        cli.ok("config", "unset", "min-free")
        spool.wait("x", timeout=20)
    assert sum(event["event"] == "warning" for event in worker.events()) == 1


def test_settings_change_while_it_works(spool: Spool, cli: CommandLine) -> None:
    """A default that is set later applies to the next attempt; a broken file changes nothing and is reported."""
    cli.ok("config", "set", "rescan", "0.1")
    with workers(spool.path) as (worker,):
        cli.ok("config", "set", "max-retries", "0")
        config = spool.path / "config.toml"
        good = config.read_text()
        config.write_text("max-retries = [")
        wait_for(lambda: worker.has("warning"))
        config.write_text(good)
        wait_for(lambda: any("valid again" in event["message"] for event in worker.events()))
        spool.enqueue("false", id="x")
        assert spool.wait("x", timeout=20).attempts == 1


def test_misspelt_fields_are_reported(spool: Spool) -> None:
    """A worker warns about the fields of a dropped file that look misspelt: once, when the job starts."""
    body = {"command": "false", "prioritty": 1, "max-retries": 9, "mine": 1, "max_retries": 1, "backoff_base": 0}
    (spool.path / "pending/x.json").write_text(json.dumps(body))
    events = [event for event in drain(spool).events() if event["event"] in ("start", "warning")]
    assert [event["event"] for event in events] == ["start", "warning", "start"]
    assert events[1]["job"] == events[0]["job"]
    assert events[1]["message"] == (
        'unknown field "prioritty" is ignored; did you mean "priority"?; '
        'unknown field "max-retries" is ignored; did you mean "max_retries"?'
    )


def test_unknown_settings_are_reported(spool: Spool) -> None:
    """A worker warns once about a key that it does not know when it starts, and again when the file changes."""
    path = spool.path / "config.toml"
    path.write_text("max_retries = 0\nrescan = 0.1\n")
    with workers(spool.path) as (worker,):

        def warnings() -> list[str]:
            return [event["message"] for event in worker.events() if event["event"] == "warning"]

        wait_for(warnings, "the warning")
        assert spool.wait(spool.enqueue("sleep 0.3", id="x").id, timeout=20).result is not None
        first = "config.toml: unknown setting 'max_retries' is ignored; did you mean max-retries?"
        assert warnings() == [first]
        (spool.path / "tmp/new").write_text("rescan = 0.1\ngrase = 1\n")
        (spool.path / "tmp/new").rename(path)
        wait_for(lambda: warnings()[1:], "the second warning")
    assert warnings()[1:] == ["config.toml: unknown setting 'grase' is ignored; did you mean grace?"]


def test_sigterm_lets_running_jobs_finish(spool: Spool, tmp_path: Path) -> None:
    """After the first SIGTERM no job starts, and those that run end as if nothing were."""
    go = tmp_path / "go"
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done; exit 0", id="running")
    worker = WorkerProcess(spool.path)
    wait_for(lambda: worker.has("start"))
    spool.enqueue("true", id="waiting")
    worker.process.send_signal(signal.SIGTERM)
    spool.enqueue("true", id="third")
    go.touch()
    assert worker.wait_exit() == 0
    assert result(spool, "running") == "exit0"
    assert {spool.get(id).state for id in ("waiting", "third")} == {"pending"}
    assert names(spool.path / "workers") == []


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]]
)
def test_second_signal_puts_running_jobs_back(spool: Spool, signals: list[signal.Signals]) -> None:
    """They are ended, they are pending again, and the attempt does not count."""
    spool.enqueue("sleep 600", id="x", max_retries=0)
    worker = WorkerProcess(spool.path)
    wait_for(lambda: "pid=" in spool.log_path("x").read_text())
    worker.process.send_signal(signals[0])
    for number in signals[1:]:
        wait_for(lambda: worker.has("stopping"))
        worker.process.send_signal(number)
    assert worker.wait_exit() == 0
    job = spool.get("x")
    assert (f"{job.state}", job.attempts) == ("pending", 0)
    assert not _carriers(spool)


def test_job_cancelled_elsewhere_is_accepted(spool: Spool) -> None:
    """The worker of a cancelled job sees that its file is gone, and continues with the next."""
    spool.enqueue("sleep 600", id="x")
    with workers(spool.path) as (worker,):
        wait_for(lambda: "pid=" in spool.log_path("x").read_text())
        assert result(spool, spool.cancel("x").id) == "cancelled"
        spool.enqueue("true", id="y")
        spool.wait("y", timeout=20)
        wait_for(lambda: worker.has("cancelled", "x"))
    assert spool.get("x").state == "dead"
    assert "result=cancelled" in spool.log_path("x").read_text()
    assert not _carriers(spool)


def test_file_moved_away_ends_its_job(spool: Spool, cli: CommandLine) -> None:
    """`mv running/X pending/` settles the attempt: its processes are ended before it starts again."""
    cli.ok("config", "set", "rescan", "0.3")
    spool.enqueue("sleep 600", id="x")
    with workers(spool.path, 1, "--count", "2") as (worker,):
        wait_for(lambda: "pid=" in spool.log_path("x").read_text())
        (running,) = names(spool.path / "running")
        os.rename(spool.path / "running" / running, spool.path / "pending" / running)
        wait_for(lambda: worker.has("gone", "x"))
        wait_for(lambda: len([event for event in worker.events() if event["event"] == "start"]) == 2)
        assert len([text for text in _carriers(spool) if text.startswith("sleep")]) <= 1


def test_names_while_running_and_after(spool: Spool) -> None:
    """running/ says who runs it since when; done/ says how it ended."""
    spool.enqueue("sleep 0.3", id="x", priority=7)
    with workers(spool.path) as (worker,):
        (text,) = wait_for(lambda: names(spool.path / "running"))
        running = RunningName.parse(text)
        assert running is not None
        assert (running.priority, running.attempt, running.id) == (7, 1, "x")
        assert names(spool.path / "workers") == [f"{running.worker}.json"]
        spool.wait("x", timeout=20)
    (text,) = names(spool.path / "done")
    done = FinishedName.parse(text)
    assert done is not None
    assert (done.priority, done.attempts, f"{done.result}", done.id) == (7, 1, "exit0", "x")
    assert 0.3 <= done.duration < 15
    assert worker.process.returncode == 0


def test_body_never_changes(spool: Spool) -> None:
    """The bytes in done/ are the bytes that were submitted, own fields and white space included."""
    data = b'{ "command" : "true",\n\t"id": "x", "owner": {"name": "J\xc3\xbcrgen"}, "n": 1e2 }\n\n'
    (spool.path / "pending" / "dropped.json").write_bytes(data)
    drain(spool)
    (text,) = names(spool.path / "done")
    assert (spool.path / "done" / text).read_bytes() == data


def test_command_too_large_to_run_fails_with_a_reason(spool: Spool) -> None:
    """What the kernel refuses (E2BIG) is an attempt that failed, shown in the log, not a worker that stops."""
    limit = os.sysconf("SC_ARG_MAX")
    words = ["true", *(["y" * 119_000] * 8)]
    spool.enqueue(words, id="x", max_retries=0)
    spool.enqueue("true", id="after", priority=20)
    worker = WorkerProcess(spool.path, "--drain", env={f"V{n}": "z" * 130_000 for n in range(limit // 130_000 - 2)})
    assert worker.wait_exit() == 0
    assert result(spool, "x") == "exit126"
    assert "Argument list too long" in spool.log_path("x").read_text()
    assert result(spool, "after") == "exit0"


def test_token_finds_what_left_the_process_group(spool: Spool) -> None:
    """A process in a session of its own is found by its environment."""
    spool.enqueue("setsid sleep 600 & sleep 600", id="x")
    with workers(spool.path):
        wait_for(lambda: "pid=" in spool.log_path("x").read_text())
        (text,) = names(spool.path / "running")
        name = RunningName.parse(text)
        assert name is not None
        wait_for(lambda: len(processes.find(processes.token_of(name, name.worker))) >= 3)
        spool.cancel("x")
        assert not _carriers(spool)


def test_done_jobs_are_kept_as_long_as_is_set(spool: Spool, cli: CommandLine) -> None:
    """With keep-done a worker deletes older done jobs with their logs, and never dead ones."""
    spool.enqueue("true", id="x")
    spool.enqueue("false", id="y", max_retries=0)
    drain(spool)
    cli.ok("config", "set", "keep-done", "1ms")
    with workers(spool.path):
        wait_for(lambda: names(spool.path / "logs") == ["y.log"])
    assert names(spool.path / "done") == []
    assert spool.counts().dead == 1


def test_retry_at_once_is_not_missed(spool: Spool, in_process: StartWorker) -> None:
    """With idle slots beside the one that has just failed it, a job without backoff is tried again at once."""
    job = spool.enqueue("exit 1", max_retries=40, backoff_base=0)
    with in_process(slots=4, rescan=3600.0):
        assert spool.wait(job.id, timeout=30).attempts == 41


def test_backups_of_jobs_hide_no_job(spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files with such names stand before a job, it is found in a window of a few names."""
    for window in ("FIRST_WINDOW", "WINDOW"):
        monkeypatch.setattr(intake, window, 10)
    for number in range(50):
        (spool.path / f"pending/010-20261124T034300.000Z-0-{number:05d}.json~").touch()
    spool.enqueue("true", id="good", priority=500)
    with in_process(drain=True) as running:
        running.thread.join(30)
        assert running.has("done", "good")
