"""The referee of jobs on several machines: it sees what must not be."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.support import environment, wait_for
from tests.torture.referee import Referee


@pytest.fixture
def referee() -> Iterator[Referee]:
    made = Referee()
    yield made
    made.close()


def start(referee: Referee, id: str, text: str, worker: str = "web1.aaaaaa.1.bbbb") -> subprocess.Popen[bytes]:
    """A job, once it has begun."""
    env = environment(QUEUECTL_JOB_ID=id, QUEUECTL_WORKER=worker, QUEUECTL_ATTEMPT="1")
    before = referee.began[id]
    job = subprocess.Popen(referee.job(text), env=env, stdin=subprocess.PIPE)
    wait_for(lambda: referee.began[id] > before, f"the start of {id}")
    return job


def test_attempts_after_each_other_are_no_problem(referee: Referee) -> None:
    """Each has begun and ended; one that is killed is cut."""
    for _ in range(2):
        job = start(referee, "x", "true")
        job.communicate(timeout=10)
        assert job.returncode == 0
    job = start(referee, "y", "read -r")
    job.kill()
    job.communicate()
    wait_for(lambda: not referee.running, "the end of all")
    assert (referee.began["x"], referee.ended["x"], referee.cut["y"], referee.problems) == (2, 2, 1, [])


@pytest.mark.parametrize(
    ("first", "second", "problem"), [("x", "x", "runs twice at once"), ("one.a", "one.b", "runs beside")]
)
def test_attempts_at_once_are_a_problem(referee: Referee, first: str, second: str, problem: str) -> None:
    """Two of one job, on whatever hosts, and two jobs of the group of which one may run."""
    jobs = [start(referee, first, "read -r"), start(referee, second, "read -r", "web2.aaaaaa.1.bbbb")]
    for job in jobs:
        job.communicate(b"\n", 10)
    assert [problem in text for text in referee.problems] == [True]
