"""Groups keep their jobs from starting, and no others: pauses, limits, and what cannot be read."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.spool.system import clock, groups, pause
from queuectl.work import gate
from queuectl.work.gate import Gate
from tests.spool.given import parsed, put, running_name
from tests.support import names, wait_for, workers
from tests.work.conftest import StartWorker
from tests.work.given import Reported


class Given:
    def __init__(self, spool: Spool) -> None:
        self.reported = Reported(spool)
        self.spool = spool
        self.gate = Gate(spool.layout, clock.now, self.reported.context.report)

    def run(self, id: str, second: int = 0, worker: str = "host.2.bbbb") -> RunningName:
        """Put a job into running/."""
        name = running_name(id, worker=worker)
        name = name._replace(started_at=name.started_at.replace(second=second))
        put(self.spool.layout, name, "true", State.RUNNING)
        return name


@pytest.fixture
def given(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Given:
    """Whose looks at files hold good for no time."""
    monkeypatch.setattr(gate, "_GOOD_FOR", 0.0)
    return Given(spool)


def test_closed_by_names_the_outermost_group_that_is_paused(given: Given) -> None:
    """A job starts only when all of its groups allow it; others never wait."""
    assert given.gate.closed_by("gpu.train.1") is None
    pause.write(given.spool.layout, "new driver", group="gpu.train")
    assert given.gate.closed_by("gpu.train.1") == "gpu.train"
    assert given.gate.closed_by("gpu.1") is None
    pause.write(given.spool.layout, group="gpu")
    assert given.gate.closed_by("gpu.train.1") == "gpu"
    assert given.gate.is_paused("gpu.1")
    assert not given.gate.is_paused("gpus.1")
    first, _ = given.reported.events("paused")
    assert first["message"].startswith("no job of the group gpu.train is started: the group gpu.train has been paused")


def test_look_again_opens_a_group_that_was_resumed(given: Given) -> None:
    """Its files tell; and it is said once that it was closed, and once that it is open."""
    pause.write(given.spool.layout, group="gpu")
    assert given.gate.closed_by("gpu.1") == "gpu"
    assert not given.gate.look_again()
    pause.remove(given.spool.layout, "gpu")
    assert not given.gate.is_open("gpu")
    assert given.gate.look_again()
    assert given.gate.is_open("gpu")
    assert [event["event"] for event in given.reported.events()] == ["paused", "info"]


@pytest.mark.parametrize("text", ["", "two"])
def test_closed_by_a_limit_that_cannot_be_read(given: Given, text: str) -> None:
    """Nothing of the group starts, and nothing is reported: it may be being written."""
    os.makedirs(given.spool.path / "groups/gpu")
    (given.spool.path / "groups/gpu/limit").write_text(text)
    assert given.gate.closed_by("gpu.1") == "gpu"
    (given.spool.path / "groups/gpu/limit").write_text("1\n")
    assert given.gate.look_again()
    assert given.reported.events() == []


def test_begin_lets_one_job_of_a_limited_group_be_claimed_at_a_time(given: Given) -> None:
    """Until its claim has come to something; a group without a limit is not held up."""
    groups.write(given.spool.layout, "gpu", "limit", "5")
    given.gate.begin("gpu.1")
    assert given.gate.closed_by("gpu.2") == "gpu"
    given.gate.begin("net.1")
    assert given.gate.closed_by("net.2") is None
    assert given.gate.end("gpu.1")
    assert given.gate.closed_by("gpu.2") is None


def test_find_full_counts_all_that_run_in_a_group(given: Given) -> None:
    """Those of inner groups too, whoever runs them, and none of a group that is merely called alike."""
    for number, id in enumerate(("gpu.1", "gpu.train.1", "gpus.1", "gpu")):
        given.run(id, number)
    assert given.gate.find_full({"gpu": 3, "gpu.train": 2}) == {}
    full = given.gate.find_full({"gpu": 2, "gpu.train": 1})
    assert {group: len(waits) for group, waits in full.items()} == {"gpu": 2, "gpu.train": 1}


def test_fill_keeps_a_group_closed_until_one_of_the_first_has_left(given: Given) -> None:
    """Not until any of its jobs has: one that gave back makes no place."""
    layout = given.spool.layout
    groups.write(layout, "gpu", "limit", "1")
    name = given.run("gpu.1")
    given.gate.fill({"gpu": 1}, given.gate.find_full({"gpu": 1}))
    assert given.gate.closed_by("gpu.2") == "gpu"
    assert not given.gate.left_running("gpu.3")
    assert not given.gate.look_again()
    os.unlink(layout.job(State.RUNNING, name))
    assert given.gate.look_again()

    given.gate.fill({"gpu": 1}, {"gpu": frozenset([str(name)])})
    assert given.gate.left_running("gpu.1")
    assert given.gate.closed_by("gpu.2") is None


def test_fill_ends_when_the_limit_is_changed(given: Given) -> None:
    """A raised limit lets jobs start although none has ended."""
    groups.write(given.spool.layout, "gpu", "limit", "1")
    given.gate.fill({"gpu": 1}, {"gpu": frozenset([str(given.run("gpu.1"))])})
    groups.write(given.spool.layout, "gpu", "limit", "2")
    assert given.gate.look_again()


def test_must_wait_for_lets_start_what_is_within_the_limit(given: Given) -> None:
    """No more than the limit are there, its own claim among them."""
    given.run("gpu.1", 1)
    own = given.run("gpu.2", 2)
    assert given.gate.must_wait_for(own, {"gpu": 2}) == {}


def test_must_wait_for_sends_back_whoever_is_late(given: Given) -> None:
    """Of too many, those that are not among the first by name give back and wait for these."""
    first = given.run("gpu.1", 1)
    own = given.run("gpu.2", 2)
    assert given.gate.must_wait_for(own, {"gpu": 1}) == {"gpu": frozenset([str(first)])}


def test_must_wait_for_lists_again_while_the_late_have_not_given_back(
    given: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waits for that and then starts; if they do not, it gives back as well."""
    own = given.run("gpu.1", 1)
    late = given.run("gpu.2", 2)
    looks: list[float] = []

    def give_back(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            os.unlink(given.spool.layout.job(State.RUNNING, late))

    monkeypatch.setattr("queuectl.work.gate.time.sleep", give_back)
    assert given.gate.must_wait_for(own, {"gpu": 1}) == {}
    assert len(looks) == 3

    late = given.run("gpu.2", 2)
    monkeypatch.setattr(gate, "_PATIENCE", 0.0)
    assert given.gate.must_wait_for(own, {"gpu": 1}) == {"gpu": frozenset([str(late)])}


def test_must_wait_for_believes_two_listings_that_agree(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adoption renames a job under way, and a listing at that moment may not show it."""
    adopted = given.run("gpu.1", 1)
    own = given.run("gpu.2", 2)
    whole = given.gate._running
    seen = [{"gpu": [str(own)]}]
    monkeypatch.setattr(given.gate, "_running", lambda limits: seen.pop() if seen else whole(limits))
    assert given.gate.must_wait_for(own, {"gpu": 1}) == {"gpu": frozenset([str(adopted)])}


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """A directory in which running jobs of the tests leave a file each."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def _job(marked: Path) -> str:
    """A command that fails if two others are under way, and takes until somebody says so."""
    return f"test $(ls {marked} | wc -l) -lt 2 && touch {marked}/$$ && sleep 0.02 && rm {marked}/$$"


def test_workers_keep_a_limit_together(spool: Spool, marked: Path) -> None:
    """Three workers of four slots each start no more than two of a group at once, and all of another beside them."""
    groups.write(spool.layout, "gpu", "limit", "2")
    ids = [spool.enqueue(_job(marked), id=f"gpu.{number}", max_retries=0).id for number in range(40)]
    ids += [spool.enqueue("true", id=f"net.{number}").id for number in range(10)]
    with workers(spool.path, 3, "--count", "4"):
        ended = [*spool.ends(ids, timeout=60)]
    assert {(job.id, str(job.result)) for job in ended if str(job.result) != "exit0"} == set()  # type: ignore[union-attr]


def test_workers_start_jobs_of_a_group_as_soon_as_a_limit_is_raised_or_a_pause_is_over(
    spool: Spool, in_process: StartWorker
) -> None:
    """By the files alone, with no event for them."""
    groups.write(spool.layout, "gpu", "limit", "0")
    pause.write(spool.layout, group="net")
    held, waits, free = (spool.enqueue("true", id=id) for id in ("gpu.1", "net.1", "other.1"))
    with in_process() as running:
        assert spool.wait(free.id, timeout=20).state is State.DONE
        wait_for(lambda: [event["event"] for event in running.events()].count("paused") == 2, "the word on both groups")
        assert names(spool.path / "pending") == sorted([str(held.name), str(waits.name)])
        (spool.path / "groups/gpu/limit").write_text("1\n")
        assert spool.wait(held.id, timeout=20).state is State.DONE
        os.unlink(spool.path / "groups/net/paused")
        assert spool.wait(waits.id, timeout=20).state is State.DONE


def test_worker_gives_back_a_job_whose_group_is_paused_as_it_is_claimed(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So once a group's pause is there and none of it is in running/, none of it runs."""
    from queuectl.spool.moves import claims

    claim = claims.claim

    def paused_after(*arguments: object) -> object:
        claimed = claim(*arguments)  # type: ignore[arg-type]
        pause.write(spool.layout, group="gpu")
        return claimed

    monkeypatch.setattr(claims, "claim", paused_after)
    job = spool.enqueue("true", id="gpu.1")
    with in_process() as running:
        wait_for(lambda: running.has("released", "gpu.1"), "the job's return")
        wait_for(lambda: names(spool.path / "pending") == [str(job.name)], "its file")
        assert parsed(names(spool.path / "pending")[0]).attempts == 0


@pytest.mark.parametrize("key", ["paused", "limit"])
def test_drain_leaves_jobs_of_groups_that_are_closed_for_good(spool: Spool, in_process: StartWorker, key: str) -> None:
    """A worker that drains ends, and names them; behind a pause that ends by itself it waits."""
    if key == "paused":
        pause.write(spool.layout, "new driver", group="gpu")
    else:
        groups.write(spool.layout, "gpu", "limit", "0")
    pause.write(spool.layout, "", datetime.now(UTC) + timedelta(seconds=1), group="net")
    for id in ("gpu.1", "gpu.t.2", "net.1", "other"):
        spool.enqueue("true", id=id)
    with in_process(drain=True) as running:
        wait_for(lambda: not running.thread.is_alive(), "the worker's end")
    assert {job.id for job in spool.list([State.DONE])} == {"net.1", "other"}
    said = [event["message"] for event in running.events() if event["event"] == "warning"]
    assert len(said) == 1
    assert said[0].startswith("2 jobs (gpu.1, gpu.t.2) left, as the ")
