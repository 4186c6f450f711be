"""The commands that act on jobs: ids, `-`, filters, the question before, the report after."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import time
from datetime import datetime
from pathlib import Path

import click
import pytest

from queuectl import Job, Spool, State
from queuectl.cli.filters import NAMES
from queuectl.cli.targets import Verb, act
from queuectl.core.names import PendingName, RunningName
from queuectl.spool.reading import query
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout
from tests.cli.given import JOB_KEYS, put_one_of_each, run_on_terminal
from tests.spool.given import NOW, WORKER, put, put_finished
from tests.support import CommandLine, environment, names, wait_for, workers

FRONT = query.front


@pytest.fixture
def full(spool: Spool) -> Spool:
    """A job in every state, named after it, and one that is held."""
    put_one_of_each(spool.layout)
    put(spool.layout, PendingName(10, NOW, 0, "held"), "echo held")
    spool.hold("held")
    return spool


# --- which jobs


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["cancel", "--all"], {"ready", "scheduled", "retrying", "held", "running"}),
        (["cancel", "--state", "ready"], {"ready"}),
        (["cancel", "--state", "ready", "--state", "held"], {"ready", "held"}),
        (["cancel", "--state", "running,scheduled"], {"running", "scheduled"}),
        (["cancel", "--state", "ready,pending"], {"ready", "scheduled", "retrying", "held"}),
        (["retry", "--state", "done", "--state", "dead"], {"done", "failed"}),
        (["cancel", "--match", "^r.*(ng|dy)$"], {"ready", "retrying", "running"}),
        (["cancel", "--match", "^echo r", "--state", "pending"], {"ready", "retrying"}),
        (["cancel", "--until", "1h"], {"ready", "running"}),
        (["retry", "--all"], {"failed"}),
        (["retry", "--state", "done"], {"done"}),
        (["retry", "--result", "exit7"], {"failed"}),
        (["retry", "--result", "timeout"], set()),
        (["hold", "--all"], {"ready", "scheduled", "retrying", "held"}),
        (["hold", "--state", "scheduled"], {"scheduled"}),
        (["release", "--all"], {"held"}),
        (["kill", "--all"], {"running"}),
        (["first", "--match", "^echo [rs]", "--state", "pending"], {"ready", "scheduled", "retrying"}),
        (["set", "priority=1", "--match", "echo sched"], {"scheduled"}),
        (["dlq", "retry", "--match", "true"], {"failed"}),
        (["dlq", "drop", "--result", "failed"], {"failed"}),
        (["retry", "--state", "failed"], {"failed"}),
        (["dlq", "drop", "--state", "failed"], {"failed"}),
        (["cancel", "--state", "failed"], {"retrying"}),
        (["hold", "--state", "failed,held"], {"retrying", "held"}),
        (["cancel", "--where", "priority<10"], {"scheduled"}),
        (["cancel", "--where", "body.command=echo ready"], {"ready"}),
        (["hold", "--where", "attempts>=1", "--where", "body.sweep="], {"retrying"}),
    ],
)
def test_rehearsal(cli: CommandLine, full: Spool, words: list[str], ids: set[str]) -> None:
    """--dry-run prints the ids that a command with these filters is about, and does nothing."""
    before = {state: names(full.path / state) for state in State}
    done = cli.run(*words, "--dry-run")
    assert (done.returncode, set(done.stdout.split())) == (0, ids)
    assert {state: names(full.path / state) for state in State} == before
    found = cli.json(*words, "--dry-run")
    assert {outcome["id"] for outcome in found} == ids
    assert {outcome["ok"] for outcome in found} <= {None}


def test_rehearsal_of_what_cannot_be_done(cli: CommandLine, full: Spool) -> None:
    """A named job whose state does not allow the action is reported as without --dry-run."""
    done = cli.run("cancel", "ready", "failed", "--dry-run")
    assert (done.returncode, done.stdout) == (1, "ready\n")
    assert done.stderr.startswith("queuectl: job failed is dead\n")
    assert cli.run("retry", "ready", "--dry-run").returncode == 1
    assert full.counts().pending == 4


def test_selection_needs_a_yes(cli: CommandLine, full: Spool) -> None:
    """Without a terminal it is refused with the count, and done with --yes."""
    done = cli.run("cancel", "--all")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "queuectl: this would cancel 5 jobs (4 pending, 1 running)"
    assert full.counts().dead == 1
    done = cli.run("cancel", "--state", "pending", "--yes")
    assert (done.returncode, len(done.stdout.split())) == (0, 4)
    assert done.stderr.splitlines() == ["4 jobs (4 pending) selected", "4 jobs cancelled"]


@pytest.mark.parametrize(("answer", "code", "dead"), [(b"y\n", 0, 4), (b"n\n", 1, 1), (b"\n", 1, 1), (b"\4", 1, 1)])
def test_terminal_is_asked(cli: CommandLine, full: Spool, tmp_path: Path, answer: bytes, code: int, dead: int) -> None:
    """On a terminal the count is part of the question, and anything but yes does nothing."""
    master, inside = pty.openpty()
    with open(inside, "rb") as stdin:
        os.write(master, answer)
        ended, screen = run_on_terminal(
            cli.argv("cancel", "--match", "echo (r|s)", "--state", "pending"), tmp_path, stdin=stdin
        )
        os.close(master)
    assert "cancel 3 jobs (3 pending)? [y/N]" in screen
    assert (ended, full.counts().dead) == (code, dead)
    assert screen.endswith("nothing done\n") == (code == 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cancel"], "name the jobs, or select them"),
        (["cancel", "ready", "--all"], "both ids and a selection"),
        (["cancel", "ready", "--match", "x"], "both ids and a selection"),
        (["cancel", "--state", "dead"], "this does not apply to dead jobs"),
        (["release", "--state", "running"], "this does not apply to running jobs"),
        (["cancel", "--match", "a("], "not a regular expression: 'a('"),
        (["cancel", "--result", "exit999"], "unknown result 'exit999'"),
        (["cancel", "--since", "soon"], "not a time: 'soon'"),
        (["kill", "-s", "NOPE", "running"], "unknown signal 'NOPE'"),
        (["set", "ready"], "nothing to set"),
        (["set", "ready", "id=x"], "a job keeps its id"),
        (["set", "ready", "colour=red"], "'colour' cannot be set"),
        (["set", "ready", "priority=high"], "not a number: priority=high"),
        (["set", "ready", "timeout=soon"], "not a duration: 'soon'"),
        (["set", "ready", "retry_on=x"], "not exit codes from 1 to 255: 'x'"),
        (["set", "ready", "max-log=huge"], "not a size: 'huge'"),
        (["pause", "--until", "2020-01-01T00:00:00Z"], "that time has passed: '2020-01-01T00:00:00Z'"),
        (["list", "--sort", "x"], "unknown field 'x'"),
        (["list", "--columns", "id,x"], "unknown field 'x'"),
        (["list", "--format", "{x}"], "unknown field 'x'"),
        (["list", "--where", "x=1"], "unknown field 'x'"),
        (["list", "--where", "id.x=1"], "unknown field 'id.x'"),
        (["list", "--where", "body.x"], "not a condition: 'body.x'"),
        (["cancel", "--where", "=3"], "not a condition: '=3'"),
        (["first"], "name the jobs, or select them"),
        (["first", "--state", "running"], "this does not apply to running jobs"),
        (["wait"], "name the jobs, or select them"),
        (["wait", "ready", "--all"], "both ids and a selection"),
        (["explain"], "name the jobs, or select them"),
        (["explain", "ready", "--match", "x"], "both ids and a selection"),
    ],
)
def test_usage(cli: CommandLine, full: Spool, words: list[str], said: str) -> None:
    """What cannot be meant is refused before anything is done, in three lines at most."""
    before = {state: names(full.path / state) for state in State}
    done = cli.run(*words)
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (2, "", f"queuectl: {said}")
    assert len(done.stderr.splitlines()) <= 3
    assert {state: names(full.path / state) for state in State} == before


def test_ids_from_stdin_and_prefixes(cli: CommandLine, full: Spool) -> None:
    """`-` takes the first word of each line; an id that fits no job is reported, and the rest done."""
    done = cli.run("cancel", "-", stdin="read exit7\n\nnope\nsched\nnope\n")
    assert (done.returncode, done.stdout) == (3, "ready\nscheduled\n")
    assert done.stderr.splitlines()[0] == "queuectl: no job 'nope'"
    assert full.counts().dead == 3


def test_json_reports_the_outcome_of_each_job(cli: CommandLine, full: Spool) -> None:
    """--json reports every job that was meant, those that failed too, and leaves the exit code."""
    done = cli.run("hold", "ready", "running", "nope", "--json")
    first, second, third = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert (first["id"], first["ok"], first["error"], set(first["job"])) == ("ready", True, None, JOB_KEYS)
    assert (second["ok"], second["job"]) == (False, None)
    assert second["error"].startswith("job running is running")
    assert (third["id"], third["ok"]) == ("nope", False)
    assert full.get("ready").is_held


@pytest.mark.parametrize(
    "words", [["hold", "--all", "-y"], ["cancel", "-"], ["enqueue", "-", "-q"], ["set", "--all", "-y", "timeout=9"]]
)
def test_reader_that_goes_away(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """`| head -1` ends the report, not the work: what was begun is done for every job."""
    ids = [f"job-{number}" for number in range(300)]
    bodies = "".join(f'{{"command": "true", "id": "{id}"}}\n' for id in ids)
    if words[0] != "enqueue":
        cli.ok("enqueue", "-", "-q", stdin=bodies)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        cli.argv(*words),
        check=False,
        input=bodies.encode() if words[0] == "enqueue" else "\n".join(ids).encode(),
        stdout=writing,
        stderr=writing,
        env=environment(),
    )
    os.close(writing)
    jobs = list(spool.list())
    assert (done.returncode, len(jobs)) == (141, 300)
    if words[0] == "set":
        assert all(job.body and job.body.timeout == 9 for job in jobs)
    else:
        assert {"hold": all(job.is_held for job in jobs), "cancel": spool.counts().dead == 300}.get(words[0], True)


# --- what they do


def test_cancel_a_running_job(cli: CommandLine, spool: Spool) -> None:
    """It is over when the command answers, whichever process the worker is, and `retry` brings it back."""
    with workers(spool.path):
        spool.enqueue("echo begun; sleep 300", id="x", max_retries=0)
        wait_for(lambda: "begun\n" in spool.log_path("x").read_text(), "the start")
        assert cli.run("cancel", "x").returncode == 0
        assert not spool.is_alive("x")
    assert (spool.get("x").state, str(spool.get("x").result)) == (State.DEAD, "cancelled")
    assert cli.run("cancel", "x").returncode == 1
    assert cli.ok("retry", "x") == "x"


@pytest.mark.parametrize("words", [["-9"], ["-KILL"], ["-s", "9"], ["-s", "SIGKILL"]], ids=" ".join)
def test_kill_names_signals_as_kill_does(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """`-9` is what fingers type."""
    with workers(spool.path):
        spool.enqueue("sleep 300", id="x", max_retries=0)
        wait_for(lambda: "pid=" in spool.log_path("x").read_text(), "the start")
        assert cli.ok("kill", *words, "x") == "x"
        assert str(spool.wait("x", timeout=20).result) == "signal9"


def test_cancelling_all_starts_none(cli: CommandLine, spool: Spool) -> None:
    """Waiting jobs go first, so that none starts in the slot of a running one, however the jobs were named."""
    for words, stdin in ((["--all", "--yes"], ""), (["-"], "long\n" + "\n".join(f"short-{n}" for n in range(100)))):
        with workers(spool.path):
            spool.enqueue("sleep 300", id="long")
            wait_for(lambda: spool.get("long").state is State.RUNNING, "the start")
            bodies = [{"command": "true", "id": f"short-{number}"} for number in range(100)]
            assert len(list(spool.enqueue_many(bodies))) == 100
            printed = cli.ok("cancel", *words, "--grace", "0.1", stdin=stdin).splitlines()
        assert printed[-1] == "long"
        assert {job.attempts for job in spool.list((State.DEAD,)) if job.id != "long"} == {0}
        cli.ok("dlq", "drop", "--all", "--yes")


def test_first_of_thousands(cli: CommandLine, spool: Spool) -> None:
    """They come in the order given, before all others, without a look at the whole queue for each."""
    ids = [f"job-{number:04}" for number in range(3000)]
    assert len(list(spool.enqueue_many({"command": "true", "id": id} for id in ids))) == 3000
    spool.enqueue("true", id="urgent", priority=1)
    wanted = ids[::-1]
    listings: list[PendingName] = []

    def count(layout: Layout, at: datetime, *, excluding: PendingName) -> PendingName | None:
        listings.append(excluding)
        return FRONT(layout, at, excluding=excluding)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(query, "front", count)
        before = None
        for id in ids[:20]:
            before = spool.first(id, ahead_of=before)
    assert (len(listings), spool.get("job-0019").priority) == (1, 1)
    cli.ok("first", "-", stdin="\n".join(wanted))
    assert [name.split("-", 3)[-1] for name in names(spool.path / "pending")] == [
        f"{id}.json" for id in [*wanted, "urgent"]
    ]


def test_cancelling_many_running_jobs_takes_one_grace(cli: CommandLine, spool: Spool) -> None:
    """Jobs that do not heed SIGTERM are ended together, not one grace after the other."""
    with workers(spool.path, 1, "--count", "8"):
        command = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
        list(spool.enqueue_many({"command": ["sh", "-c", command], "id": f"job-{number}"} for number in range(8)))
        for number in range(8):
            log = spool.log_path(f"job-{number}")
            wait_for(lambda: "ready\n" in log.read_text(), "the start")  # noqa: B023
        begun = time.monotonic()
        assert len(cli.ok("cancel", "--all", "--yes", "--grace", "1").split()) == 8
        assert 1 <= time.monotonic() - begun < 4
        assert not any(spool.is_alive(f"job-{number}") for number in range(8))


def test_jobs_that_left_a_selection(spool: Spool, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that a worker was faster to take or to end is not a failure of a filter; of a name it is one."""
    put(spool.layout, PendingName(10, NOW, 0, "a"), "true")
    put(spool.layout, PendingName(10, NOW, 0, "b"), "true")
    verb = Verb("hold", "held", (State.PENDING,), "pending")

    def lose(id: str | Job) -> Job:
        os.rename(spool.get("a").path, spool.layout.job(State.RUNNING, str(RunningName(NOW, 10, 1, WORKER, "a"))))
        return spool.hold(id)

    def hold(id: str | Job) -> Job:
        return (lose if isinstance(id, Job) and id.id == "a" else spool.hold)(id)

    given = {"ids": (), "every": True, "yes": True, "dry_run": False, "as_json": False, **dict.fromkeys(NAMES, ())}
    with click.Context(click.Command("hold")):
        act(spool, verb, given, hold)
        assert capsys.readouterr() == (
            "b\n",
            "2 jobs (2 pending) selected\n1 job had already changed state\n1 job held\n",
        )
        release = Verb("release", "released", (State.PENDING,), "held")
        act(spool, release, given, lambda id: [spool.release(id), spool.release(id)][1])  # as if somebody were faster
        assert capsys.readouterr() == ("", "1 job (1 pending) selected\n1 job had already changed state\n")
        with pytest.raises(click.exceptions.Exit) as exit:
            act(spool, verb, {**given, "ids": ("a",), "every": False}, spool.hold)
    assert exit.value.exit_code == 1


def test_hold_release_first_set(cli: CommandLine, full: Spool) -> None:
    """Each changes what it says, and is seen in `list` and `status`."""
    cli.ok("hold", "ready")
    assert {job["id"] for job in cli.json("list", "--state", "held")} == {"ready", "held"}
    assert "held       2" in cli.ok("status")
    cli.ok("release", "ready", "held", "--at", "2999-01-01T00:00:00Z")
    assert {job["run_at"] for job in cli.json("list", "--state", "scheduled") if job["id"] != "scheduled"} == {
        "2999-01-01T00:00:00.000Z"
    }
    cli.ok("first", "ready", "held")
    assert [job["id"] for job in cli.json("list", "--state", "ready")] == ["ready", "held"]
    cli.ok("set", "ready", "priority=7", "timeout=1h30m", "max-retries=2", "env.A=b=c", "backoff_base=1.5", "cwd=/")
    job = full.get("ready")
    assert job.fields == {
        "command": "echo ready", "timeout": 5400, "max_retries": 2, "env": {"A": "b=c"}, "backoff_base": 1.5,
        "cwd": "/",
    }  # fmt: skip
    assert job.priority == 7
    cli.ok("set", "ready", "retry-on=75,110-111", "on-lost=dead", "max-log=64K", "on_max_log=kill")
    assert (full.get("ready").fields or {}).items() >= {
        "retry_on": [75, 110, 111], "on_lost": "dead", "max_log": 65536, "on_max_log": "kill",
    }.items()  # fmt: skip
    cli.ok("set", "ready", "timeout=none", "command=echo = here", "run_at=+1h")
    fields = full.get("ready").fields
    assert fields is not None
    assert ("timeout" in fields, fields["command"]) == (False, "echo = here")


def test_set_a_variable_to_none(cli: CommandLine, full: Spool) -> None:
    """`none` takes a variable away, and the last one takes `env` with it; an empty variable is one."""
    cli.ok("set", "ready", "env.A=1", "env.B=none of it", "env.C=")
    cli.ok("set", "ready", "env.A=none", "env.D=none")
    assert (full.get("ready").fields or {})["env"] == {"B": "none of it", "C": ""}
    cli.ok("set", "ready", "env.B=None", "env.C=none")
    assert full.get("ready").fields == {"command": "echo ready"}
    done = cli.run("set", "ready", "env.=x")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "queuectl: a variable has no name")


def test_set_a_command(cli: CommandLine, full: Spool) -> None:
    """A JSON array is stored as one, and refused if it is not a command; other text is for the shell, but no `none`."""
    cli.ok("set", "ready", 'command=["echo","a b"]')
    assert full.get("ready").command == ("echo", "a b")
    cli.ok("set", "ready", "command=[ -e x ] && echo x")
    assert full.get("ready").command == "[ -e x ] && echo x"
    for text, hint in (
        ("none", "queuectl: a job needs a command"),
        ("[]", '  "command" must be a string, or an array of strings that is not empty'),
        ("[1]", '  "command" must be a string, or an array of strings that is not empty'),
    ):
        done = cli.run("set", "ready", f"command={text}")
        assert (done.returncode, hint in done.stderr.splitlines()) == (2, True)
    assert full.get("ready").command == "[ -e x ] && echo x"


def test_edit(cli: CommandLine, full: Spool) -> None:
    """$EDITOR gets a copy; what it saves is the job, what is not a job is kept elsewhere."""
    done = cli.run("edit", "ready", env={"EDITOR": "sed -i s/ready/edited/"})
    assert (done.returncode, done.stdout) == (0, "ready\n")
    assert full.get("ready").command == "echo edited"
    done = cli.run("edit", "ready", env={"EDITOR": "sed -i s/command/comand/"})
    assert done.returncode == 2
    kept = Path(done.stderr.splitlines()[-1].removeprefix("  your text is in "))
    assert "comand" in kept.read_text()
    kept.unlink()
    assert full.get("ready").command == "echo edited"
    done = cli.run("edit", "ready", env={"EDITOR": "true"})
    assert (done.returncode, done.stderr) == (0, "ready: nothing changed\n1 job up to date\n")
    done = cli.run("edit", "ready", env={"EDITOR": "false"})
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "queuectl: the editor failed")
    done = cli.run("edit", "ready", env={"EDITOR": "rm"})
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "queuectl: the editor left no text")
    done = cli.run("edit", "ready", env={"EDITOR": "", "VISUAL": ""})
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "queuectl: no terminal to edit on")


def test_edit_warns_about_misspelt_fields(cli: CommandLine, full: Spool) -> None:
    """A field that is left and looks like a misspelt one is reported as in `enqueue`."""
    warning = 'warning: unknown field "prioritty" is ignored; did you mean "priority"?\n'
    done = cli.run("edit", "ready", env={"EDITOR": """sed -i 's/"command"/"prioritty": 1, "command"/'"""})
    assert (done.returncode, done.stderr) == (0, f"{warning}1 job up to date\n")
    done = cli.run("edit", "ready", env={"EDITOR": "true"})
    assert done.stderr == f"ready: nothing changed\n{warning}1 job up to date\n"
    done = cli.run("edit", "ready", env={"EDITOR": "sed -i s/prioritty/mine/"})
    assert done.stderr == "1 job up to date\n"


def test_edit_of_ids_from_stdin(cli: CommandLine, full: Spool, tmp_path: Path) -> None:
    """The editor gets the terminal, not what is left of the ids."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\ntest -t 0 && sed -i s/echo/printf/ "$1"\n')
    editor.chmod(0o700)
    (tmp_path / "ids").write_text("ready\nscheduled\n")
    script = f"{shlex.join(cli.argv('edit', '-'))} < {tmp_path / 'ids'}"
    argv = ["setsid", "--ctty", "sh", "-c", script]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITOR", str(editor))
        code, said = run_on_terminal(argv, tmp_path, stdin_is_terminal=True)
    assert code == 0, said
    assert {full.get(id).command for id in ("ready", "scheduled")} == {"printf ready", "printf scheduled"}


def test_retry_with_an_edit(cli: CommandLine, spool: Spool) -> None:
    """A file that was refused as an invalid job is fixed and retried in one go."""
    put_finished(spool.layout, "torn", "invalid").write_text('{"command": "echo')
    done = cli.run("retry", "--edit", "torn", env={"EDITOR": 'sed -i s/echo/true\\"}/'})
    assert (done.returncode, done.stdout) == (0, "torn\n")
    assert (spool.get("torn").state, spool.get("torn").command) == (State.PENDING, "true")


def test_pause_resume_drain(cli: CommandLine, spool: Spool) -> None:
    """The reason and the time are shown by `status`; draining keeps a reason that is there."""
    said = cli.run("pause", "--until", "2999-01-01T00:00:00Z", "new", "disks").stderr
    assert said.startswith("paused since ")
    assert said.endswith("reason: new disks\n")
    found = cli.json("status")
    assert (found["paused"], found["pause"]["until"]) == (True, "2999-01-01T00:00:00.000Z")
    assert "new disks" in cli.ok("status")
    assert cli.json("drain")["paused"]["reason"] == "new disks"
    assert cli.run("resume").stderr == "queue resumed\n"
    assert cli.run("resume").stderr == "the queue was not paused\n"
    assert cli.json("drain") == {"paused": cli.json("status")["pause"], "running": 0, "group": None}
    assert spool.is_paused()
    spool.enqueue("true", id="report")
    assert "not only report; for that: queuectl hold report" in cli.run("pause", "report").stderr
    assert "alone" not in cli.run("pause", "repor").stderr


@pytest.mark.parametrize(
    "words",
    [["pause", "--until", "1h"], ["release", "held", "--at", "1h"], ["set", "ready", "run_at=1h"],
     ["drain", "--until", "1h"]],
)  # fmt: skip
def test_duration_is_a_time_to_come(cli: CommandLine, full: Spool, words: list[str]) -> None:
    """Wherever a time to come is asked for, `1h` is in an hour; no sign is needed."""
    (full.path / "running" / names(full.path / "running")[0]).unlink()
    cli.ok(*words)
    paused = full.paused()
    times = [paused.until if paused else None, full.get("held").run_at, full.get("ready").run_at]
    assert any(at is not None and 3590 < (at - now()).total_seconds() <= 3601 for at in times)


def test_drain_that_takes_too_long(cli: CommandLine, full: Spool) -> None:
    """The code is 5, and the pause stays; jobs of dead workers are reported."""
    done = cli.run("drain", "--timeout", "10ms")
    assert done.returncode == 5
    assert "1 job of dead workers: only a worker can settle them" in done.stderr
    assert full.is_paused()


def test_explain_a_selection(cli: CommandLine, full: Spool) -> None:
    """Filters select what is explained, up to a limit; that there is more is reported."""
    assert {each["id"] for each in cli.json("explain", "--state", "pending")} == {
        "ready", "scheduled", "retrying", "held",
    }  # fmt: skip
    done = cli.run("explain", "--state", "pending", "--limit", "1")
    assert (done.returncode, done.stdout.count(" is pending")) == (0, 1)
    assert done.stderr == "there are more than 1; see --limit\n"
    done = cli.run("explain", "--match", "nothing like it")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no matching jobs\n")


def test_first_keeps_the_order_of_a_selection(cli: CommandLine, full: Spool) -> None:
    """What stood before the other still does, in front of all the rest."""
    put(full.layout, PendingName(1, NOW, 0, "urgent"), "true")
    before = [job["id"] for job in cli.json("list", "--state", "pending", "--match", "^(re|sch)")]
    cli.ok("first", "--match", "^(re|sch)", "--yes")
    assert [job["id"] for job in cli.json("list", "--state", "pending")][:4] == [*before, "urgent"]


def test_explain(cli: CommandLine, full: Spool) -> None:
    """Every job that is named is explained, also one that is not a job yet; one that is not there is an error."""
    (full.path / "pending" / "new.json").write_text("{")
    done = cli.run("explain", "held", "nope", "new", "running")
    assert done.returncode == 3
    assert [line.split()[0] for line in done.stdout.splitlines() if line[0] != " "] == ["held", "new.json", "running"]
    (found,) = cli.json("explain", "held")
    assert set(found) == {"id", "state", "path", "reasons", "ahead", "starts_at", "defaults"}


# --- list


def test_sorting(cli: CommandLine, full: Spool) -> None:
    """By any key, both ways, over all states, and before the limit."""
    ids = [job["id"] for job in cli.json("list", "--sort", "id")]
    assert ids == sorted(ids)
    assert [job["id"] for job in cli.json("list", "--sort", "-id", "--limit", "2")] == sorted(ids)[:-3:-1]
    assert cli.json("list", "--sort", "priority")[0]["id"] == "scheduled"
    assert full.counts().pending == 4


def test_columns_and_formats(cli: CommandLine, full: Spool) -> None:
    """The table has the columns asked for; a template has a line for each job."""
    assert full.counts().held == 1
    assert cli.ok("list", "--state", "held", "--columns", "id,when").splitlines()[1].split() == ["held", "held"]
    template = r"{id}\t{result}\t{exit_code}\t{command}\\"
    assert cli.ok("list", "--result", "failed", "--format", template) == "failed\texit7\t7\ttrue\\"
    assert cli.ok("list", "--state", "held", "--format", "{held} {run_at}|") == "true |"
    named = cli.ok("list", "--state", "dead", "--columns", "id, priority,attempts,duration").splitlines()
    assert named[0].split() == ["ID", "PRIORITY", "ATTEMPTS", "DURATION"]
    assert cli.run("list", "--json", "--format", "{id}").returncode == 2


def test_plain_text_is_an_expression_too(cli: CommandLine, spool: Spool) -> None:
    """What somebody sees in a command is found when it is typed, characters of expressions and all."""
    put(spool.layout, PendingName(10, NOW, 0, "a"), "echo (1+1)")
    put(spool.layout, PendingName(10, NOW, 0, "b"), "echo 11")
    assert [job["id"] for job in cli.json("list", "--match", "(1+1)")] == ["a", "b"]
    assert [job["id"] for job in cli.json("list", "--match", r"\(1\+1\)")] == ["a"]


def test_set_of_a_job_that_has_ended(cli: CommandLine, full: Spool) -> None:
    """The command that changes such a job is named."""
    assert full.counts().dead == 1
    lines = cli.run("set", "failed", "timeout=5").stderr.splitlines()
    assert lines[0] == "queuectl: job failed is dead"
    assert lines[2] == "  to change it and start it again: queuectl retry --edit failed"


def test_explain_for_programs(cli: CommandLine, spool: Spool) -> None:
    """--json explains every job that the filters select; people get twenty, unless they ask for more."""
    for number in range(22):
        put(spool.layout, PendingName(10, NOW, 0, f"j{number}"))
    assert len(cli.json("explain", "--state", "ready")) == 22
    done = cli.run("explain", "--state", "ready")
    assert (done.stdout.count(" is pending"), done.stderr) == (20, "there are more than 20; see --limit\n")
    assert cli.ok("explain", "--state", "ready", "--limit", "0").count(" is pending") == 22


def test_retry_edits_several_jobs_in_one_file(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """The editor is opened once; each job gets its own text, and one that is deleted from the file stays dead."""
    for number in range(4):
        put_finished(spool.layout, f"j{number}", command=f"echo {number}")
    put_finished(spool.layout, "torn", "invalid").write_text('{"command": ')
    editor = tmp_path / "editor"
    editor.write_text(
        "#!/bin/sh\n" f"echo once >> {tmp_path}/times\n"
        """sed -i 's/echo 1/echo one/; s/^{"command": *$/{"command": "fixed"}/; /#### j2/,/}/d; s/echo 3"/"/' "$1"\n"""
    )  # fmt: skip
    editor.chmod(0o755)
    done = cli.run("retry", "--edit", "j0", "j1", "j2", "j3", "torn", "nope", env={"EDITOR": str(editor)})
    assert (tmp_path / "times").read_text() == "once\n"
    assert set(done.stdout.split()) == {"j0", "j1", "torn"}
    commands = {job.id: (str(job.state), job.command) for job in spool.list()}
    assert commands == {
        "j0": ("pending", "echo 0"), "j1": ("pending", "echo one"), "j2": ("dead", "echo 2"), "j3": ("dead", "echo 3"),
        "torn": ("pending", "fixed"),
    }  # fmt: skip
    assert done.returncode in (2, 3)
    assert "no job 'nope'" in done.stderr
    assert "your text is in " in done.stderr
