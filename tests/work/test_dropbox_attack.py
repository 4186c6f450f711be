"""Strangers at the drop box of a worker that runs as root: one in the group, allowed or not, and one outside it."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool, SpoolError
from queuectl.core.result import State
from queuectl.spool.moves import dropbox, take
from queuectl.spool.system import clock, trust
from tests.strangers import ALICE, BOB, GROUP, MALLORY, act_as, home_for_all, is_denied, start_as
from tests.support import CommandLine, WorkerProcess, names, need_root, wait_for, workers

EVIL = "echo evil"


class Box:
    """A spool of root's with a drop box, in which alice may hand in jobs."""

    def __init__(self, home: Path, settle: str) -> None:
        self.home = home
        self.spool = Spool(home / "spool", create=True)
        dropbox.make(self.spool.layout, GROUP)
        self.cli = CommandLine(self.spool.path, home)
        settings = f'allow-users = "{ALICE}"\nsettle = "{settle}"\nrescan = 0.2\n'
        (self.spool.path / "config.toml").write_text(settings)
        self.inbox = self.spool.path / "inbox"
        self.shared = home / "shared"
        self.shared.mkdir()
        self.shared.chmod(0o1777)

    def run_one(self) -> None:
        """A job of the owner's, to its end."""
        self.spool.wait(self.spool.enqueue("true").id, timeout=20)

    def commands(self) -> list[Any]:
        """Those of all jobs that there are."""
        return [job.command for job in self.spool.list()]

    def write(self, uid: int, name: str, command: str = "true", mode: int = 0o644, **more: object) -> None:
        act_as(uid, lambda: write(self.inbox / name, {"command": command, **more}, mode))


def write(path: Path, body: object, mode: int = 0o644) -> Path:
    """In place; of that mode before there is anything in it, as a worker takes it as soon as it is whole."""
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        os.fchmod(fd, mode)
        os.write(fd, json.dumps(body).encode())
    finally:
        os.close(fd)
    return path


def make_full(path: Path) -> None:
    path.mkdir()
    (path / "x.json").write_text("{}")


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.fixture
def box() -> Iterator[Box]:
    need_root()
    with home_for_all() as home:
        yield Box(home, "0.5s")


def says(worker: WorkerProcess, text: str) -> bool:
    return any(text in event["message"] for event in worker.events())


# --- what the system itself keeps from them


def test_permissions_of_the_drop_box(box: Box) -> None:
    """The group may add files to inbox/; not list it, nor read, remove or replace those of others; all else is shut."""
    spool = box.spool.path
    box.spool.enqueue("true", id="pay")
    mine = box.inbox / "alice.json"
    box.write(ALICE, "alice.json", mode=0o600)
    for act in (
        lambda: os.listdir(box.inbox),
        mine.read_bytes,
        lambda: mine.write_bytes(b"{}"),
        mine.unlink,
        lambda: mine.rename(box.inbox / "other.json"),
        lambda: write(box.shared / f"m{os.getpid()}", {}).rename(mine),
        lambda: os.listdir(spool),
        lambda: os.listdir(spool / "pending"),
        lambda: os.listdir(spool / "taken"),
        lambda: write(spool / "pending/010-20300101T000000.000Z-0-pay.json", {"command": EVIL}),
        lambda: write(spool / "taken/uid41001.aaaaaaaaaaaa", {"command": EVIL}),
        lambda: write(spool / "config.toml", ""),
        lambda: (spool / "inbox").rename(spool / "gone"),
        (spool / "logs/pay.log").read_bytes,
        lambda: write(spool / "tmp/x", {}),
    ):
        assert is_denied(MALLORY, act)
    assert is_denied(BOB, lambda: write(box.inbox / "bob.json", {}))
    assert is_denied(BOB, mine.stat)
    assert dropbox_is_safe(box)


def dropbox_is_safe(box: Box) -> bool:
    return list(trust.find_dangers(box.spool.layout)) == []


# --- what becomes of a file


def test_job_handed_in_runs_as_a_job_of_ours(box: Box) -> None:
    """Under its user's name, which the job knows, whatever the file said; no other job is touched by its id or name."""
    box.spool.enqueue("echo real", id="pay", run_at="2030-01-01T00:00:00Z")
    before = names(box.spool.path / "pending")
    with workers(box.spool.path) as (worker,):
        forged: dict[str, Any] = {
            "id": "pay",
            "submitted_by": "root",
            "group": "pay",
            "env": {"QUEUECTL_SUBMITTED_BY": "root"},
        }
        box.write(ALICE, "000-20200101T000000.000Z-0-pay.json", "echo by $QUEUECTL_SUBMITTED_BY", **forged)
        wait_for(lambda: worker.has("done"))
    (job,) = box.spool.list([State.DONE])
    assert job.id.startswith(f"uid{ALICE}.")
    assert job.submitted_by == f"uid{ALICE}"
    assert f"by uid{ALICE}" in Path(box.spool.log_path(job.id)).read_text()
    assert names(box.spool.path / "pending") == before
    assert (names(box.inbox), names(box.spool.path / "taken")) == ([], [])
    assert os.stat(job.path).st_uid == 0
    assert f"uid{ALICE}" in box.cli.ok("list")
    assert f"submitted_by uid{ALICE}" in box.cli.ok("show", job.id)


def test_submitter_cannot_be_forged_by_a_variable(box: Box) -> None:
    """A variable of that name that the worker has reaches no job."""
    with_variable = WorkerProcess(box.spool.path, "--drain", env={"QUEUECTL_SUBMITTED_BY": "root"})
    box.spool.enqueue("echo by-$QUEUECTL_SUBMITTED_BY-", id="x")
    assert with_variable.wait_exit() == 0 or WorkerProcess(box.spool.path, "--drain").wait_exit() == 0
    assert "by--" in Path(box.spool.log_path("x")).read_text()


def test_file_of_a_user_not_allowed_waits_until_he_is(box: Box) -> None:
    """His file is reported once and left there; once he is allowed it runs, as it is."""
    with workers(box.spool.path) as (worker,):
        box.write(MALLORY, "m.json", "echo m")
        wait_for(lambda: says(worker, "inbox/m.json was left in place"))
        assert box.commands() == []
        box.cli.ok("config", "set", "allow-users", f"{ALICE} {MALLORY}")
        wait_for(lambda: worker.has("done"))
        assert sum("was left in place" in event["message"] for event in worker.events()) == 1
    assert box.commands() == ["echo m"]


def test_file_that_is_put_right_runs(box: Box) -> None:
    """What others could write to is left there until its owner has seen to that."""
    with workers(box.spool.path) as (worker,):
        box.write(ALICE, "a.json", "echo a", mode=0o666)
        wait_for(lambda: says(worker, "others can write to it"))
        act_as(ALICE, lambda: (box.inbox / "a.json").chmod(0o644))
        wait_for(lambda: worker.has("done"))


def test_broken_file_goes_to_the_dead_letters(box: Box) -> None:
    """After the settle time; nothing of the stranger's own file is there, and who he was is on record."""
    with workers(box.spool.path) as (worker,):
        act_as(ALICE, lambda: (box.inbox / "half.json").write_text('{"command": "tr'))
        wait_for(lambda: worker.has("refused"))
    (dead,) = (box.spool.path / "dead").iterdir()
    assert (dead.read_text(), dead.stat().st_uid, names(box.inbox)) == ('{"command": "tr', 0, [])
    assert f'submitted_by="uid{ALICE}"' in Path(box.spool.log_path(dead.name.split("-", 5)[5][:-5])).read_text()


# --- attacks


@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_hard_link_of_an_allowed_users_file(box: Box, mode: int) -> None:
    """A stranger's link of it is not that user's word: neither while others can write to it, nor with two names."""
    scratch = box.shared / "scratch"
    act_as(ALICE, lambda: write(scratch, {"command": "echo mine"}, mode))
    if mode == 0o666:
        act_as(MALLORY, lambda: scratch.write_text(json.dumps({"command": EVIL})))
        act_as(MALLORY, lambda: os.link(scratch, box.inbox / "x.json"))
    else:  # which fs.protected_hardlinks forbids, where it is set
        os.link(scratch, box.inbox / "x.json")
    with workers(box.spool.path) as (worker,):
        wait_for(lambda: says(worker, "inbox/x.json was left in place"))
        if mode == 0o666:
            act_as(ALICE, scratch.unlink)
            wait_for(lambda: len([e for e in worker.events() if "was left in place" in e["message"]]) == 2)
    assert box.commands() == []
    assert names(box.inbox) == ["x.json"]


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a full directory": make_full,
    "a pipe": os.mkfifo,
    "a link to a secret": lambda path: path.symlink_to("/etc/shadow"),
    "a link to a job": lambda path: path.symlink_to(write(path.parent.parent.parent / "shared/job", {"command": EVIL})),
    "a link to itself": lambda path: path.symlink_to(path),
    "a huge file": make_huge,
}


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL)
def test_entry_that_is_not_a_file_is_left_there(box: Box, make: Callable[[Path], object]) -> None:
    """It is reported, blocks nothing, and a job that is handed in beside it runs."""
    with workers(box.spool.path) as (worker,):
        act_as(ALICE, lambda: make(box.inbox / "x.json"))
        wait_for(lambda: says(worker, "inbox/x.json was left in place"))
        box.write(ALICE, "good.json", "echo good")
        wait_for(lambda: worker.has("done"))
    assert box.commands() == ["echo good"]
    assert names(box.inbox) == ["x.json"]
    assert "inbox/" in box.cli.run("doctor").stdout
    assert box.cli.run("fsck").returncode == 0


def test_swapping_a_file_while_it_is_looked_at(box: Box) -> None:
    """However fast its owner exchanges it for another's file, a directory or a pipe, no job is made of those."""
    scratch = box.shared / "scratch"
    act_as(BOB, lambda: write(scratch, {"command": EVIL}, 0o666))
    own = box.home / "alice"
    own.mkdir()
    os.chown(own, ALICE, GROUP)

    def swap() -> None:
        until = time.monotonic() + 4
        for number in itertools.count(1):
            if time.monotonic() > until:
                return
            path, other = box.inbox / f"{number}.json", own / "other"
            write(own / "good", {"command": "echo mine", "number": number}).rename(path)
            make = (
                lambda other: os.link(scratch, other),
                lambda other: write(other, {"command": EVIL}, 0o666),
                os.mkfifo,
                lambda other: other.symlink_to(scratch),
                os.mkdir,
            )[number % 5]
            make(other)
            if number % 5 == 4 and path.exists():
                path.unlink(missing_ok=True)  # as a directory replaces no file
            other.rename(path)

    with workers(box.spool.path, 2):
        act_as(ALICE, swap)
        box.write(ALICE, "last.json", "echo last")
        wait_for(lambda: "echo last" in box.commands(), patience=60)
    jobs = [job for job in box.spool.list(limit=100_000) if job.body is not None]
    assert {job.command for job in jobs} <= {"echo mine", "echo last"}  # a slow machine is never as fast as the swaps
    assert {job.submitted_by for job in jobs} == {f"uid{ALICE}"}
    assert {os.stat(job.path).st_uid for job in jobs} == {0}
    numbers = [(job.fields or {})["number"] for job in jobs if job.command == "echo mine"]
    assert len(set(numbers)) == len(numbers)
    assert names(box.spool.path / "taken") == []


def test_worker_reads_once_what_it_has_taken(box: Box) -> None:
    """What the owner writes through a descriptor that he has kept reaches neither the job nor its file."""
    layout = box.spool.layout
    box.write(ALICE, "x.json", "echo first")
    keeper = os.open(box.inbox / "x.json", os.O_RDWR)
    try:
        id = take.take(layout, "x.json", lambda uid: uid == ALICE)
        assert id is not None
        take.finish(layout, [id], clock.now())
        os.pwrite(keeper, json.dumps({"command": EVIL}).encode(), 0)
    finally:
        os.close(keeper)
    assert box.commands() == ["echo first"]


FLOODS: dict[str, Callable[[Path], object]] = {
    "directories": os.mkdir,
    "files that are not jobs": lambda path: os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)),
}


@pytest.mark.parametrize("make", FLOODS.values(), ids=FLOODS)
def test_flood_costs_the_owner_nothing_that_lasts(box: Box, make: Callable[[Path], object]) -> None:
    """Beside 12,000 files of a stranger the owner's jobs run, another user's is taken, and the worker says little."""
    box.cli.ok("config", "set", "rescan", "10")

    def flood() -> None:
        for number in range(12_000):
            make(box.inbox / f"{number}.json")

    with workers(box.spool.path) as (worker,):
        pid = start_as(MALLORY, flood)
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            box.run_one()
        box.write(ALICE, "alice.json", "echo alice")
        wait_for(lambda: "echo alice" in box.commands(), patience=150)
        for _ in range(30):
            box.run_one()
        warnings = [event for event in worker.events() if event["event"] == "warning"]
        assert len(warnings) <= 14, [event["message"] for event in warnings]


def test_flood_of_jobs_is_taken_in_turn(box: Box) -> None:
    """A thousand good files of one user become a thousand jobs, and so does one of another user."""
    box.cli.ok("config", "set", "allow-users", f"{ALICE} {MALLORY}")
    (box.spool.path / "paused").touch()

    def flood() -> None:
        for number in range(1000):
            write(box.inbox / f"{number}.json", {"command": "true", "number": number})

    with workers(box.spool.path):
        act_as(MALLORY, flood)
        box.write(ALICE, "alice.json", "echo alice")
        wait_for(lambda: box.spool.counts().pending == 1001, patience=60)
    assert names(box.spool.path / "taken") == []


def test_handing_in_as_a_stranger(box: Box) -> None:
    """`queuectl enqueue` of a user who may only add to inbox/ writes a whole file there under a random name."""
    from queuectl.cli import context, enqueue, handin  # noqa: F401 - before root is given up, which can read them

    def hand_in() -> None:
        assert context.is_handed_in(box.spool.layout)
        handin.hand_in(box.spool.layout, [{"command": "echo handed in"}], None, quiet=True, is_awaited=False)

    act_as(ALICE, hand_in)
    (name,) = names(box.inbox)
    assert name.endswith(".json")
    assert not context.is_handed_in(box.spool.layout)
    assert WorkerProcess(box.spool.path, "--drain").wait_exit() == 0
    assert box.commands() == ["echo handed in"]


def test_other_commands_say_what_a_stranger_can_do(box: Box) -> None:
    """One message, whichever command it is; another one for a user who is not in the group."""
    import click

    from queuectl.cli import context, main  # noqa: F401 - before root is given up, which can read them
    from queuectl.spool.system import trust  # noqa: F401

    def said(uid: int, text: str) -> None:
        def ask() -> None:
            with click.Context(click.Command("queuectl"), obj=None) as running:
                running.params["spool"] = str(box.spool.path)
                with pytest.raises(SpoolError) as caught:
                    context.open_spool()
                assert text in str(caught.value)

        act_as(uid, ask)

    said(ALICE, "and do nothing else there")
    said(ALICE, f"ls -l {box.spool.path}/outbox/")
    said(BOB, "ask to be added to")


def test_what_became_of_a_job_is_for_the_group_to_read(box: Box) -> None:
    """It may read entries and change none; who is not in the group sees nothing."""
    act_as(ALICE, lambda: write(box.inbox / "night.json", {"command": "true"}) and None)
    assert WorkerProcess(box.spool.path, "--drain").wait_exit() == 0
    out = box.spool.path / "outbox"

    def read() -> None:
        (name,) = names(out)
        assert name.endswith("-done-exit0")
        assert (out / name).read_text() == 'file: "night.json"\n'
        for change in ((out / name).unlink, (out / "x").touch, lambda: (out / name).write_text("x")):
            with pytest.raises(PermissionError):
                change()

    def be_refused() -> None:
        with pytest.raises(PermissionError):
            names(out)

    act_as(ALICE, read)
    act_as(BOB, be_refused)


def test_kills_while_files_are_taken(box: Box) -> None:
    """Workers that are killed again and again, three at a time, make one job of each file."""
    (box.spool.path / "paused").touch()

    def hand_in() -> None:
        for number in range(400):
            path = write(box.inbox / f"{number}.part", {"command": "true", "number": number})
            path.rename(path.with_suffix(".json"))
            time.sleep(0.005)  # not to wait for anything: so that files come for as long as workers are killed

    pid = start_as(ALICE, hand_in)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        started = [WorkerProcess(box.spool.path).wait_ready() for _ in range(3)]
        for worker in started:
            worker.kill()
    with workers(box.spool.path):
        wait_for(lambda: not names(box.inbox) and not names(box.spool.path / "taken"), patience=60)
        wait_for(
            lambda: sum(name.endswith("-pending") for name in names(box.spool.path / "outbox")) == 400, patience=60
        )
    jobs = list(box.spool.list([State.PENDING], limit=10_000))
    assert sorted((job.fields or {})["number"] for job in jobs) == list(range(400))
    assert box.cli.run("fsck").returncode == 0
