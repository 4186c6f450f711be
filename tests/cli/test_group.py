"""`queuectl group`, and groups wherever jobs are selected."""

from __future__ import annotations

import os
import sys

import pytest

from queuectl import Spool, State
from queuectl.core.names import FinishedName
from queuectl.core.result import SUCCESS
from queuectl.spool.system import clock, groups, lease, pause
from tests.spool.given import put
from tests.support import CommandLine, names, wait_for, workers


def test_enqueue_puts_the_group_in_front_of_the_id(cli: CommandLine, spool: Spool) -> None:
    """From an option, a body, or both, where the option wins; random ids as well."""
    assert cli.ok("enqueue", "-q", "-g", "gpu", "--id", "train", "--", "true") == "gpu.train"
    assert cli.ok("enqueue", "-q", "--group", "gpu", "--id", "gpu.two", "--", "true") == "gpu.two"
    assert cli.ok("enqueue", "-q", '{"command": "true", "group": "net", "id": "x"}') == "net.x"
    assert cli.ok("enqueue", "-q", "-g", "gpu", '{"command": "true", "group": "net", "id": "y"}') == "gpu.y"
    assert cli.ok("enqueue", "-q", "-g", "a.b", "--", "true").startswith("a.b.")
    assert cli.ok("enqueue", "-q", "-g", "gpu", "-", stdin='{"command": "true", "id": "z"}\n') == "gpu.z"
    for words in (
        ["-g", "a..b"],
        ["-g", "x" * 88],
        ["--id", "a."],
        ["--id", "a..b"],
        ["-g", "g" * 87, "--id", "i" * 20],
    ):
        assert cli.run("enqueue", *words, "--", "true").returncode == 2


def test_dropped_files_join_groups(spool: Spool) -> None:
    """By the name they are dropped under, or by their body's."""
    (spool.path / "pending/gpu.train.json").write_text('{"command": "true"}')
    (spool.path / "pending/plain.json").write_text('{"command": "true", "group": "net"}')
    (spool.path / "pending/own.json").write_text('{"command": "true", "group": "net", "id": "x"}')
    (spool.path / "pending/a..b.json").write_text('{"command": "true"}')
    with workers(spool.path):
        wait_for(lambda: spool.counts().done == 4, "the end of all four")
    ids = sorted(job.id for job in spool.list([State.DONE]))
    assert [id.rsplit("-", 1)[0] for id in ids] == ["a_b", "gpu.train", "net.plain", "net.x"]


def test_group_in_the_place_of_an_id_selects_all_of_it(cli: CommandLine, spool: Spool) -> None:
    """As --group does, with the same question; without jobs it is an error."""
    for id in ("gpu.1", "gpu.train.1", "gpus.1", "gpu"):
        spool.enqueue("true", id=id)
    refused = cli.run("cancel", "gpu.")
    assert (refused.returncode, "this would cancel 2 jobs" in refused.stderr) == (2, True)
    assert cli.ok("cancel", "gpu.", "--yes").split() == ["gpu.1", "gpu.train.1"]
    assert cli.ok("list", "--group", "gpu", "--format", "{id} {state}").splitlines() == [
        *("gpu.train.1 dead", "gpu.1 dead"),
    ]
    assert cli.run("cancel", "none.").returncode == 3
    mixed = cli.run("cancel", "gpu.", "gpus.1")
    assert (mixed.returncode, "both ids and a group" in mixed.stderr) == (2, True)
    assert names(spool.path / "pending") != []


def test_beginning_of_an_id_is_never_the_name_of_a_group(cli: CommandLine, spool: Spool) -> None:
    """Also when one job of it is left; what reaches beyond the last dot may be short for one."""
    spool.enqueue("true", id="lr.0001")
    for text in ("lr", "lr."):
        refused = cli.run("show", text)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"queuectl: {text} is a group of 1 job\n")
    assert cli.run("show", "l").returncode == 3
    assert "lr.0001" in cli.ok("show", "lr.0")
    spool.enqueue("true", id="lr")
    assert cli.ok("cancel", "lr").split() == ["lr"]


def test_set_writes_files_and_reports_whom_it_concerns(cli: CommandLine, spool: Spool) -> None:
    """The same as `echo 2 > groups/gpu/limit`; nothing is written if one value is wrong."""
    spool.enqueue("true", id="gpu.1")
    said = cli.run("group", "set", "gpu", "limit=2", "max-failed=5%")
    assert said.stderr == "gpu: limit=2 max-failed=5%; 1 job in it, 1 of them not ended\n"
    assert (spool.path / "groups/gpu/limit").read_text() == "2\n"
    for words in (["limit=3", "max-failed=none at all"], ["colour=1"], ["limit"], ["paused=yes"]):
        assert cli.run("group", "set", "gpu", *words).returncode == 2
    assert (spool.path / "groups/gpu/limit").read_text() == "2\n"
    assert cli.run("group", "set", "gpu", "limit=none").returncode == 0
    assert cli.run("group", "unset", "gpu", "max-failed").stderr.endswith(
        "no settings; 1 job in it, 1 of them not ended\n"
    )
    spool.enqueue("true", id="gpu.0", run_at="2020-01-01")
    assert "; 2 jobs in it, the oldest gpu.0, 2 of them" in cli.run("group", "unset", "gpu", "limit").stderr
    assert groups.names(spool.layout) == []


def test_list_shows_groups_with_a_setting_or_several_jobs(cli: CommandLine, spool: Spool) -> None:
    """With --all every prefix; each with its counts and what keeps it from starting."""
    for id in ("gpu.1", "gpu.train.1", "report.v1"):
        spool.enqueue("true", id=id)
    groups.write(spool.layout, "net", "limit", "0")
    pause.write(spool.layout, "new driver", group="gpu")
    rows = [line.split() for line in cli.ok("group", "list").splitlines()]
    assert rows[1:] == [["gpu", "2", "0", "0", "0", "0", "paused:", "new", "driver"], ["net", *"00000", "0", "full"]]
    every = cli.json("group", "list", "--all")
    assert [group["group"] for group in every] == ["gpu", "gpu.train", "net", "report"]
    assert every[0]["paused"]["reason"] == "new driver"
    assert cli.json("group", "show", "gpu")["ready"] == 2
    assert cli.run("group", "show", "nothing").returncode == 3
    assert (every[0]["per_minute"], every[0]["left"]) == (None, None)


def test_list_and_show_estimate_when_a_group_will_have_ended(cli: CommandLine, spool: Spool) -> None:
    """From how long its last jobs took, if there are workers for the rest."""
    spool.enqueue("true", id="gpu.1")
    put(spool.layout, FinishedName(clock.now(), 10, 1, SUCCESS, 90_000, "gpu.2"), state=State.DONE)
    with lease.WorkerLease(spool.layout, "web1", {"slots": 1, "format": 2}):
        assert "PER_MINUTE  LEFT" in cli.ok("group", "list")
        shown = dict(line.split(maxsplit=1) for line in cli.ok("group", "show", "gpu").splitlines())
        assert shown["left"] == "1 m 30 s"
        assert cli.json("group", "list")[0]["left"] == 90.0


def test_enqueue_says_that_a_group_is_nearly_another(cli: CommandLine) -> None:
    """On stderr, if that one alone has settings; the job is queued all the same."""
    cli.ok("group", "set", "gpu", "limit=1")
    warning = "warning: the group gup has no settings; did you mean gpu, which has?\n"
    assert cli.run("enqueue", "-g", "gup", "--id", "a", "--", "true").stderr == warning
    assert cli.run("enqueue", "-g", "gup", "--param", "n=1", "--append", "--", "true").stderr.endswith(warning)
    assert cli.run("enqueue", "-q", "-g", "gup", "--", "true").stderr == ""
    assert cli.run("enqueue", "-g", "gpu", "--", "true").stderr == ""


def test_pause_and_resume_take_a_group(cli: CommandLine, spool: Spool) -> None:
    """By --group alone: a group with its dot, alone or before a reason, does not pause everything."""
    spool.enqueue("true", id="gpu.1")
    for words in (("gpu.",), ("gpu.", "new", "driver")):
        refused = cli.run("pause", *words)
        assert (refused.returncode, spool.is_paused()) == (2, False)
        assert f"queuectl pause --group gpu {' '.join(words[1:])}".rstrip() + "\n" in refused.stderr
    assert cli.run("pause", "Maintenance.", "Back", "at", "5").returncode == 0
    assert "not only those of gpu; for that: queuectl pause --group gpu" in cli.run("pause", "gpu").stderr
    cli.ok("resume")
    cli.ok("pause", "--group", "gpu", "new", "driver")
    assert not spool.is_paused()
    assert (found := pause.read(spool.layout, clock.now, "gpu")) is not None
    assert found.reason == "new driver"
    assert "the group gpu has been paused" in cli.ok("explain", "gpu.1")
    cli.ok("resume", "--group", "gpu.")
    assert pause.read(spool.layout, clock.now, "gpu") is None


def test_drain_of_a_group_waits_for_its_jobs_alone(cli: CommandLine, spool: Spool) -> None:
    """A job of another group may run for as long as it likes."""
    other = spool.enqueue("sleep 600", id="net.1")
    mine = spool.enqueue("sleep 0.1", id="gpu.1")
    with workers(spool.path, 1, "--count", "2"):
        spool.wait(mine.id, timeout=20)
        cli.ok("drain", "--group", "gpu", "--timeout", "20")
        assert spool.get(other.id).state is State.RUNNING
        spool.cancel(other.id)


@pytest.mark.parametrize("limit", ["0", "1"])
def test_explain_names_the_limit(cli: CommandLine, spool: Spool, limit: str) -> None:
    """What keeps a job from starting is its group."""
    groups.write(spool.layout, "gpu", "limit", limit)
    spool.enqueue("sleep 600", id="gpu.1")
    spool.enqueue("true", id="gpu.2")
    with workers(spool.path, 1, "--count", "2"):
        if limit == "1":
            wait_for(lambda: spool.get("gpu.1").state is State.RUNNING, "its start")
        said = cli.ok("explain", "gpu.2")
        wanted = "the group gpu runs 1 job, its limit is 1" if limit == "1" else "the limit of the group gpu is 0"
        assert wanted in said
        spool.cancel("gpu.1")


def test_wait_counts_jobs_that_join_the_group_and_those_that_ended(cli: CommandLine, spool: Spool) -> None:
    """It is over when none is left; one that failed before makes the code 1."""
    spool.enqueue("true", id="lr.1")
    spool.enqueue(f"{sys.executable} -m queuectl --spool {spool.path} enqueue -g lr --id 3 -- true", id="lr.2")
    with workers(spool.path):
        said = cli.ok("wait", "lr.", "--timeout", "30")
        assert sorted(line.split()[0] for line in said.splitlines()) == ["lr.1", "lr.2", "lr.3"]
        spool.enqueue("exit 3", id="lr.4", max_retries=0)
        assert cli.run("wait", "lr.", "--timeout", "30").returncode == 1
        spool.enqueue("true", id="one.1")
        assert cli.run("wait", "one.", "--timeout", "30").returncode == 0


def test_wait_gives_up_behind_a_brake(cli: CommandLine, spool: Spool) -> None:
    """With the reason, as nothing will happen before somebody looks; a pause by hand is waited for."""
    groups.write(spool.layout, "lr", "max-failed", "1")
    spool.enqueue("exit 3", id="lr.1", max_retries=0)
    with workers(spool.path):
        wait_for(lambda: pause.read(spool.layout, clock.now, "lr"), "the brake")
        spool.enqueue("true", id="lr.2")
        done = cli.run("wait", "lr.", "--timeout", "30")
    assert done.returncode == 1
    assert "1 job cannot start: the group lr has paused itself\n  1 job failed; max-failed is 1\n" in done.stderr
    pause.write(spool.layout, "by hand", group="lr")
    assert cli.run("wait", "lr.2", "--timeout", "3").returncode == 5


def test_seats_are_shown_with_who_holds_them(cli: CommandLine, spool: Spool) -> None:
    """By `group list`, `group show` and `explain`, which also says what there is too little of."""
    from queuectl.core.seats import Seats
    from queuectl.spool.system import seats

    assert cli.run("group", "set", "gpu", "seats=0").returncode != 0
    assert cli.run("group", "set", "gpu", "seat-env=A-B").returncode != 0
    cli.ok("group", "set", "gpu", "seats=4,5", "seat-env=CUDA_VISIBLE_DEVICES")
    job = cli.ok("enqueue", "-q", "-g", "gpu", "--seats", "gpu=2", "--seats", "mem=1", "--slots", "2", "--", "true")
    listed = Seats(("4", "5"))
    taken = seats.take(spool.layout, "gpu", listed, 1, "gpu.first")
    assert taken is not None
    assert " 1/2" in cli.ok("group", "list")
    assert "4: gpu.first" in cli.ok("group", "show", "gpu")
    assert cli.json("group", "show", "gpu")["seats"] == {
        "names": ["4", "5"], "total": 2, "used": 1,
        "held": [{"seat": "4", "job": "gpu.first", "spool": os.fspath(spool.path)}],
    }  # fmt: skip
    why = cli.ok("explain", job)
    assert "it needs 2 seats of gpu, 1 of 2 free; held by gpu.first" in why
    assert "it needs 1 seat of mem, which has none; to give it some: queuectl group set mem seats=1" in why
    assert "seats        gpu=2,mem=1" in cli.ok("show", job)
    seats.give_back(spool.layout, [taken])
    with workers(spool.path):
        assert "it asks for 2 slots, the largest worker has 1" in cli.ok("explain", job)


def test_seats_of_a_host_are_for_that_host_alone(spool: Spool) -> None:
    """`seats.HOST` takes the place of `seats` there, by its whole name or what is before a dot."""
    groups.write(spool.layout, "gpu", "seats", "2")
    groups.write(spool.layout, "gpu", "seats.elsewhere", "9")
    found = groups.read(spool.layout, "gpu", clock.now)
    assert found is not None
    assert found.seats == ("0", "1")
    groups.write(spool.layout, "gpu", f"seats.{os.uname().nodename.partition('.')[0]}", "a,b,c")
    found = groups.read(spool.layout, "gpu", clock.now)
    assert found is not None
    assert found.seats == ("a", "b", "c")
