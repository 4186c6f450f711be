"""`queuectl worker`: start, list and stop, as typed."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl import Spool, __version__
from queuectl.core.result import State
from queuectl.spool.system import clock
from queuectl.work import background
from tests.cli.given import RFC3339
from tests.spool.given import WORKER, put, running_name
from tests.support import CommandLine, names, wait_for, workers


def test_drain(cli: CommandLine, spool: Spool) -> None:
    """`worker start --drain` runs what is there, one line for each event on stderr, and exits with 0."""
    spool.enqueue("echo hi", id="good")
    spool.enqueue("exit 3", id="bad", max_retries=0)
    done = cli.run("worker", "start", "--drain", "--count", "2")
    assert (done.returncode, done.stdout) == (0, "")
    lines = [line.split()[1:] for line in done.stderr.splitlines()]
    assert ["done", "good"] in [line[:2] for line in lines]
    assert ["dead", "bad", "exit3"] in [line[:3] for line in lines]
    assert (spool.get("good").state, spool.get("bad").state) == (State.DONE, State.DEAD)


def test_quiet(cli: CommandLine, spool: Spool) -> None:
    """--quiet reports problems alone."""
    spool.enqueue("true", id="good")
    spool.enqueue("exit 3", id="bad", max_retries=0)
    done = cli.run("worker", "start", "--drain", "--quiet")
    assert done.returncode == 0
    assert [line.split()[1:3] for line in done.stderr.splitlines()] == [["dead", "bad"]]


def test_json_lines(cli: CommandLine, spool: Spool) -> None:
    """--json reports one JSON object a line, with its time, event and job."""
    spool.enqueue("true", id="good")
    done = cli.run("worker", "start", "--drain", "--json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert all({"at", "event", "job", "message"} <= set(event) for event in events)
    assert all(RFC3339.fullmatch(event["at"]) for event in events)
    assert [event["event"] for event in events if event["job"] == "good"] == ["start", "done"]


def test_bad_counts(cli: CommandLine) -> None:
    """A count that is not a number from 1 on is a usage error."""
    for count in ("0", "-1", "many", "1001"):
        done = cli.run("worker", "start", "--count", count)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith("see: queuectl worker start --help\n")


def test_list(cli: CommandLine, spool: Spool) -> None:
    """A worker is listed while it lives, and one that is gone while it has left a job."""
    done = cli.run("worker", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "no workers; start one: queuectl worker start\n"
    assert cli.json("worker", "list") == []
    put(spool.layout, running_name("a"), state=State.RUNNING)
    put(spool.layout, running_name("b"), state=State.RUNNING)
    row = cli.ok("worker", "list").splitlines()[1].split()
    assert row == [WORKER, "gone", "?", "?", "?", "a", "b"]
    assert cli.json("worker", "list") == [
        {"worker": WORKER, "alive": False, "state": "gone", "host": None, "contact": None, "pid": None, "slots": None,
         "on": None, "started_at": None, "uptime": None, "version": None, "groups": [], "not_groups": [], "seats": {},
         "poll": None, "runs": ["a", "b"], "batch_jobs": []},
    ]  # fmt: skip


def test_list_shows_hosts_if_they_differ(cli: CommandLine, spool: Spool) -> None:
    """Where a worker is of another host, every row has its host."""
    (spool.path / "workers" / f"{WORKER}.json").write_text('{"host": "web1", "slots": 2}')
    header, row = (line.split() for line in cli.ok("worker", "list").splitlines())
    assert row[header.index("HOST")] == "web1"


def test_list_of_a_living_worker(cli: CommandLine, spool: Spool) -> None:
    """It has its slots, version, host, jobs and the time it has been up."""
    spool.enqueue("sleep 300", id="x")
    with workers(spool.path, 1, "--count", "3") as (worker,):
        wait_for(lambda: worker.has("start", "x"))
        (found,) = cli.json("worker", "list")
        row = cli.ok("worker", "list").splitlines()[1].split()
    assert (found["alive"], found["slots"], found["version"], found["runs"]) == (True, 3, __version__, ["x"])
    assert 0 <= found["uptime"] < 600
    assert row[1:3] + row[-3:] == ["working", "3", "ago", __version__, "x"]


def test_list_shows_what_a_worker_does(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Idle, paused with the queue, working, and stopping while its last job finishes."""

    def is_shown(state: str) -> bool:
        states = [cli.json("worker", "list")[0]["state"], cli.ok("worker", "list").splitlines()[1].split()[1]]
        return states == [state, state]

    with workers(spool.path) as (worker,):
        wait_for(lambda: is_shown("idle"), "the worker")
        spool.pause()
        assert is_shown("paused")
        spool.resume()
        spool.enqueue(f"while ! [ -e {tmp_path}/go ]; do sleep 0.01; done", id="x")
        wait_for(lambda: is_shown("working"), "the job")
        spool.enqueue("true", id="next")
        cli.ok("worker", "stop")
        wait_for(lambda: is_shown("stopping"), "the news")
        assert cli.ok("status").count(", runs 1, stopping") == 1
        (tmp_path / "go").touch()
        assert worker.wait_exit() == 0
    assert cli.json("worker", "list") == []


def test_stop_none(cli: CommandLine) -> None:
    """If no worker runs, `worker stop` says so, which is not an error; a worker that is named must be there."""
    done = cli.run("worker", "stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no worker runs on this host\n")
    done = cli.run("worker", "stop", "web1")
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "queuectl: no worker 'web1' runs on this host")


def test_stop_lets_jobs_finish(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """`worker stop` prints which workers it stops; the running job ends well, and no other is started."""
    go = tmp_path / "go"
    spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="a", priority=1)
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("start", "a"), "the start of the job")
        spool.enqueue("true", id="later")
        done = cli.run("worker", "stop")
        (name,) = done.stdout.split()
        assert done.stderr == f"{name} stops once its jobs have finished\n"
        wait_for(lambda: cli.json("worker", "list")[0]["state"] == "stopping", "the news")
        go.touch()
        assert worker.wait_exit() == 0
    assert (spool.get("a").state, spool.get("later").state) == (State.DONE, State.PENDING)
    assert names(spool.path / "workers") == []


def test_stop_twice_changes_nothing(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """A second `worker stop` says that the worker is stopping, and leaves its job alone; --now still ends it."""
    go = tmp_path / "go"
    spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="a")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("start", "a"), "the start of the job")
        name = cli.ok("worker", "stop").strip()
        wait_for(lambda: cli.json("worker", "list")[0]["state"] == "stopping", "the news")
        for words in ([], [name]):
            done = cli.run("worker", "stop", *words)
            assert (done.stdout, done.stderr) == (
                f"{name}\n",
                f"{name} is already stopping; use --now to kill its jobs\n",
            )
        go.touch()
        assert worker.wait_exit() == 0
    assert f"{spool.get('a').result}" == "exit0"
    spool.enqueue("sleep 300", id="b")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("start", "b"), "the start of the job")
        cli.ok("worker", "stop")
        wait_for(lambda: cli.json("worker", "list")[0]["state"] == "stopping", "the news")
        cli.ok("worker", "stop", "--now")
        worker.wait_exit()
    assert spool.get("b").state == State.PENDING


def test_stop_now(cli: CommandLine, spool: Spool) -> None:
    """`worker stop --now` ends the running job as well and puts it back, the attempt uncounted."""
    spool.enqueue("sleep 300", id="a")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("start", "a"), "the start of the job")
        done = cli.run("worker", "stop", "--now")
        assert done.stderr.endswith(" ends its jobs and stops\n")
        worker.wait_exit()
    job = spool.get("a")
    assert (job.state, job.attempts) == (State.PENDING, 0)


def test_stop_and_wait(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """--wait returns when the worker is gone, its job settled; after --timeout it gives up with 5."""
    go = tmp_path / "go"
    spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="a")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("start", "a"), "the start of the job")
        done = cli.run("worker", "stop", "--wait", "--timeout", "0.1")
        assert done.returncode == 5
        assert "is still running\n  waited 0.1 s\n  it stops when" in done.stderr
        go.touch()
        wait_for(lambda: worker.process.poll() is not None, "its end")
        assert cli.ok("worker", "stop", "--wait") == ""
    with workers(spool.path) as (worker,):
        cli.ok("worker", "stop", "--wait")
        assert cli.json("worker", "list") == []
        assert worker.wait_exit() == 0
    assert f"{spool.get('a').result}" == "exit0"


@pytest.mark.parametrize("words", [["--now", "--detach"], ["--timeout", "5"], ["--wait", "--timeout", "soon"]])
def test_stop_in_contradictions(cli: CommandLine, words: list[str]) -> None:
    """Options that do not go together, or cannot be understood, are usage errors."""
    assert cli.run("worker", "stop", *words).returncode == 2


def test_idle_exit(cli: CommandLine, spool: Spool) -> None:
    """With --idle-exit a worker runs what is due and exits with 0, whatever is scheduled for later."""
    spool.enqueue("sleep 0.3", id="x")
    spool.enqueue("true", id="later", run_at=clock.now() + timedelta(hours=1))
    done = cli.run("worker", "start", "--idle-exit", "100ms")
    assert done.returncode == 0
    assert (spool.get("x").state, spool.get("later").state) == (State.DONE, State.PENDING)


def test_stop_by_name(cli: CommandLine, spool: Spool) -> None:
    """A worker may be named by the beginning of its name, if that fits only one."""
    with workers(spool.path, 2) as both:
        alive = [worker["worker"] for worker in cli.json("worker", "list")]
        host = alive[0].split(".")[0]
        done = cli.run("worker", "stop", host)
        assert (done.returncode, done.stdout) == (2, "")
        assert "matches 2 workers" in done.stderr
        first = both[0].process.pid
        (name,) = [name for name in alive if f".{first}." in name]
        assert cli.ok("worker", "stop", name[:-1]) == name
        assert both[0].wait_exit() == 0
        assert both[1].process.poll() is None


def test_stop_for_programs(cli: CommandLine, spool: Spool) -> None:
    """Names may come on stdin, where none does not mean all; --json says who was signalled, and who has stopped."""
    with workers(spool.path, 2) as both:
        names_ = [worker["worker"] for worker in cli.json("worker", "list")]
        done = cli.run("worker", "stop", "-", stdin="\n")
        assert (done.returncode, done.stdout) == (0, "")
        done = cli.run("worker", "stop", "-", "--wait", "--json", stdin=f"{names_[0]} idle\n")
        assert json.loads(done.stdout) == [{"worker": names_[0], "stopped": True}]
        assert cli.json("worker", "stop", "--wait") == [{"worker": names_[1], "stopped": True}]
        assert [worker.wait_exit() for worker in both] == [0, 0]
        assert cli.json("worker", "stop") == []


def test_worker_that_is_interrupted(cli: CommandLine, spool: Spool) -> None:
    """Ctrl-C on an idle worker ends it with 0."""
    with workers(spool.path) as (worker,):
        worker.process.send_signal(signal.SIGINT)
        assert worker.wait_exit() == 0


BACKGROUND = ["worker", "start", "--background"]


@pytest.fixture
def stopped(spool: Spool) -> Iterator[None]:
    """No worker is left at the end."""
    yield
    for worker in spool.workers():
        if worker["alive"]:
            os.kill(worker["pid"], signal.SIGQUIT)
    wait_for(lambda: not [worker for worker in spool.workers() if worker["alive"]], "the end of the workers")


@pytest.mark.usefixtures("stopped")
@pytest.mark.parametrize("number", [1, 2])
def test_background(cli: CommandLine, spool: Spool, number: int) -> None:
    """--background returns, with the names, once the workers work, in a session of their own without the terminal."""
    more = ["--processes", "2"] if number == 2 else ["--count", "3"]
    done = cli.run(*BACKGROUND, *more)
    assert done.returncode == 0
    started = done.stdout.split()
    assert sorted(started) == sorted(worker["worker"] for worker in spool.workers() if worker["alive"])
    assert done.stderr.startswith(f"in the background; the report is in {spool.path}/worker.log; ")
    assert len(started) == number
    pids = [worker["pid"] for worker in spool.workers()]
    for pid in pids:
        assert os.getsid(pid) not in (os.getsid(0), 0)
        assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
        assert os.readlink(f"/proc/{pid}/fd/1") == f"{spool.path}/worker.log"
        assert os.readlink(f"/proc/{pid}/cwd") == str(cli.cwd)
    id = cli.ok("enqueue", "--", "echo hi")
    assert spool.wait(id, timeout=20).state is State.DONE
    log = (spool.path / "worker.log").read_text()
    assert all(name in log for name in started)
    assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  \S+ +done +{id} ", log, re.MULTILINE)
    assert (spool.path / "worker.log").stat().st_mode & 0o777 == 0o600
    cli.ok("worker", "stop", "--wait", "--timeout", "20")
    assert names(spool.path / "workers") == []


@pytest.mark.usefixtures("stopped")
def test_background_twice(cli: CommandLine, spool: Spool) -> None:
    """A second one is another worker, and both report to the same file."""
    started = [cli.ok(*BACKGROUND, "-q") for _ in range(2)]
    assert len(set(started)) == 2
    assert sorted(started) == sorted(worker["worker"] for worker in spool.workers())


@pytest.mark.parametrize("more", [(), ("--processes", "2")], ids=["one", "several"])
@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda path: (path / "pending").chmod(0o777), 6, "other users could run commands as you"),
        (lambda path: (path / "config.toml").write_text("x = ["), 2, "config.toml cannot be read"),
        (lambda path: (path / "worker.log").symlink_to("/dev/full"), 6, "the spool cannot be used"),
    ],
)  # fmt: skip
def test_background_that_cannot_start(
    cli: CommandLine, spool: Spool, more: tuple[str, ...], spoil: Callable[[Path], object], code: int, said: str
) -> None:
    """The reason is reported as by a worker in the foreground, with its exit code, and nothing is left running."""
    spoil(spool.path)
    done = cli.run(*BACKGROUND, *more)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    wait_for(lambda: names(spool.path / "workers") == [], "the end of the workers")


def test_background_log_that_is_large(spool: Spool) -> None:
    """A report of more than 16 MiB is put aside when the next worker starts."""
    log = spool.path / "worker.log"
    log.write_text("old\n")
    os.truncate(log, (16 << 20) + 1)
    os.close(background.open_log(spool.layout))
    assert (log.stat().st_size, (spool.path / "worker.log.1").stat().st_size) == (0, (16 << 20) + 1)


def test_list_shows_of_which_groups_workers_take_jobs(cli: CommandLine, spool: Spool) -> None:
    """A column appears once a worker is limited to some groups; `--json` always says it."""
    with workers(spool.path, 1, "--group", "gpu", "--not-group", "gpu.t"):
        header, row = cli.ok("worker", "list").splitlines()
        (shape,) = cli.json("worker", "list")
    assert header.split()[-2:] == ["GROUPS", "RUNS"]
    assert "gpu but gpu.t" in row
    assert (shape["groups"], shape["not_groups"]) == (["gpu"], ["gpu.t"])
