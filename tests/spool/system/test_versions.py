"""Versions of the format: what a spool needs, and who would ignore it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from queuectl import Spool
from queuectl.errors import QueuectlError, WrongStateError
from queuectl.spool.system import groups, identity, pause, schedules, versions
from tests.support import CommandLine, WorkerProcess, wait_for

OLD = "web1.4242.aaaa"
TICKS = b'{"command": "true", "every": "1h"}\n'


@contextmanager
def worker(spool: Spool, *, is_alive: bool = True, **info: Any) -> Iterator[None]:
    """A worker's file, locked as by a live one."""
    known = {"worker": OLD, "host": os.uname().nodename, "pid": 1, "boot_id": identity.boot_id()}
    with open(spool.layout.worker(OLD), "w") as file:
        if is_alive:
            fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps({**known, **info}))
        file.flush()
        yield


def set_limit(spool: Spool) -> None:
    groups.write(spool.layout, "gpu", "limit", "2")


def pause_group(spool: Spool) -> None:
    pause.write(spool.layout, group="gpu")


def add_schedule(spool: Spool) -> None:
    schedules.write(spool.layout, "nightly", TICKS)


def ask_for_key(spool: Spool) -> None:
    spool.enqueue("true", unique="report")


def wait_for_another(spool: Spool) -> None:
    spool.enqueue("true", after=["first"])


NEW = [(set_limit, "groups"), (pause_group, "groups"), (add_schedule, "schedules"), (ask_for_key, "keys"),
       (wait_for_another, "jobs that wait for others")]  # fmt: skip


@pytest.mark.parametrize(("use", "what"), NEW)
def test_first_use_is_refused_while_an_older_worker_lives(
    spool: Spool, use: Callable[[Spool], None], what: str
) -> None:
    """Nothing is written that a live worker of this host would ignore; the error says what to type."""
    spool.enqueue("true", id="first")
    with worker(spool):
        with pytest.raises(WrongStateError) as caught:
            use(spool)
        assert what in caught.value.what
        assert caught.value.hint == f"try: queuectl worker stop {OLD}"
        assert versions.needed(spool.layout) == (1, [])
        assert len(list((spool.path / "pending").iterdir())) == 1
    use(spool)
    assert versions.needed(spool.layout) == (2, [what])


@pytest.mark.parametrize(("use", "what"), NEW)
def test_later_use_is_allowed(spool: Spool, use: Callable[[Spool], None], what: str) -> None:
    """Only the first use asks for workers."""
    spool.enqueue("true", id="first", run_at=timedelta(hours=1))
    use(spool)
    with worker(spool):
        use(spool)


@pytest.mark.parametrize(
    "info",
    [{"is_alive": False}, {"format": 2}, {"format": 3}, {"host": "elsewhere", "boot_id": "another"}],
    ids=["dead", "same", "newer", "other host"],
)
def test_first_use_is_allowed_beside(spool: Spool, info: dict[str, Any]) -> None:
    """A worker that has died, that knows the format, or of another host does not matter."""
    with worker(spool, **info):
        set_limit(spool)


def test_workers_of_this_version_know_the_format(spool: Spool) -> None:
    """A real worker's file says so, and nothing is refused beside it."""
    spool.enqueue("true", id="first", run_at=timedelta(hours=1))
    running = WorkerProcess(spool.path).wait_ready()
    wait_for(lambda: list((spool.path / "workers").iterdir()), "the worker's file")
    (file,) = (spool.path / "workers").iterdir()
    assert json.loads(file.read_text())["format"] == versions.FORMAT
    for use, _ in NEW:
        use(spool)
    running.kill()


def test_fsck_names_the_format_that_a_spool_needs(spool: Spool, cli: CommandLine) -> None:
    """It says what of the spool needs which format, and which live worker ignores that."""
    assert cli.json("fsck")["format"] == 1
    set_limit(spool)
    add_schedule(spool)
    assert cli.run("fsck").stderr == "sound\nneeds workers of format 2, as it has groups, schedules\n"
    with worker(spool):
        done = cli.run("fsck")
    assert done.returncode == 1
    assert f"ignores groups, schedules (format 2); start it again with this version: queuectl worker stop {OLD}" in (
        done.stdout.replace("\n", " ")
    )


def test_command_is_refused_with_the_line_to_type(spool: Spool, cli: CommandLine) -> None:
    """On the command line it is an error of three lines, and exit code 1."""
    with worker(spool):
        done = cli.run("group", "set", "gpu", "limit=2")
    assert done.returncode == QueuectlError.exit_code
    assert done.stderr.splitlines()[-1].endswith(f"queuectl worker stop {OLD}")


def test_worker_of_a_shared_spool_does_not_start_beside_an_older_one(shared: Spool) -> None:
    """Of whatever host: it would take jobs of another host for its own."""
    with worker(shared, format=2, host="elsewhere", boot_id="another"):
        with pytest.raises(WrongStateError, match=f"would ignore other hosts: {OLD}"):
            versions.refuse_older(shared.layout)
        assert versions.find_older(shared.layout, 3) == [OLD]
        assert versions.needed(shared.layout) == (3, ["other hosts"])
    versions.refuse_older(shared.layout)
    with worker(shared, format=versions.FORMAT):
        versions.refuse_older(shared.layout)
