"""The attempts under way: what ends them, each rule once for all ways to await an end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from queuectl import Spool
from queuectl.core.fields import Body, OnMaxLog
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.spool.system import logs
from queuectl.work.attempts import ActiveAttempt, Attempts, output_limit_of, timeout_of
from queuectl.work.log_limit import LogLimit
from tests.spool.given import put, running_name
from tests.work.given import Reported


class Scripted(ActiveAttempt):
    """An attempt without processes, which says what was done to it."""

    def __init__(self, name: RunningName, log: int = -1, *, takes_slot: bool = False, has_ended: bool = False) -> None:
        super().__init__(name, log)
        self.takes_slot = takes_slot  # type: ignore[misc]
        self.has_ended = has_ended
        self.ended_for: list[str] = []

    def _has_ended(self) -> bool:
        return self.has_ended

    def _in_thread(self, work: Callable[[], None]) -> None:
        work()

    def _end(self, reason: str, grace: float) -> bool:
        self.ended_for.append(reason)
        return True


@pytest.fixture
def reported(spool: Spool) -> Reported:
    return Reported(spool)


@pytest.fixture
def woken_for() -> list[float]:
    """The moments for which the main thread was to be awake."""
    return []


@pytest.fixture
def attempts(reported: Reported, woken_for: list[float]) -> Attempts:
    return Attempts(reported.context, woken_for.append)


@pytest.fixture
def log(spool: Spool) -> Iterator[int]:
    log = logs.open_log(spool.layout.log("x"))
    yield log
    os.close(log)


def test_attempt_is_ended_once_its_time_is_up(attempts: Attempts) -> None:
    """Its deadline ends it, once, and one whose deadline is to come is left alone."""
    late, early = Scripted(running_name("late")), Scripted(running_name("early"))
    late.deadline, early.deadline = time.monotonic() - 1, time.monotonic() + 1000
    for attempt in (late, early):
        attempts.add(attempt)
    attempts.enforce()
    attempts.enforce()
    assert (late.ended_for, early.ended_for) == (["timeout"], [])
    assert attempts.next_look == early.deadline


def test_attempt_that_has_ended_is_not_stopped(attempts: Attempts) -> None:
    """A deadline that is over when the shell has ended changes no result."""
    attempt = Scripted(running_name("x"), has_ended=True)
    attempt.deadline = 0.0
    attempts.add(attempt)
    attempts.enforce()
    assert (attempt.reason, attempt.ended_for) == (None, [])


def test_attempt_keeps_the_first_reason(attempts: Attempts, reported: Reported) -> None:
    """What is being ended for its timeout is not ended again when the worker stops at once."""
    attempt = Scripted(running_name("x"))
    attempt.deadline = 0.0
    attempts.add(attempt)
    attempts.enforce()
    reported.context.stopping = 2
    attempts.enforce()
    assert (attempt.reason, attempt.ended_for) == ("timeout", ["timeout"])


def test_attempts_are_released_when_the_worker_stops_at_once(attempts: Attempts, reported: Reported) -> None:
    """Those under way when it begins to, and one that begins afterwards, which no look at the table has seen."""
    early, late = Scripted(running_name("early")), Scripted(running_name("late"))
    attempts.add(early)
    reported.context.stopping = 1
    attempts.enforce()
    assert early.ended_for == []
    reported.context.stopping = 2
    attempts.enforce()
    attempts.add(late)
    assert (early.ended_for, late.ended_for) == (["release"], ["release"])


def test_attempts_wake_the_main_thread_for_what_has_a_limit(attempts: Attempts, woken_for: list[float]) -> None:
    """For the deadline or the look at the log, whichever is first; a job without either wakes nobody."""
    plain, timed, limited = (Scripted(running_name(id)) for id in ("plain", "timed", "limited"))
    timed.deadline, limited.deadline = 300.0, 200.0
    limited.limit = LogLimit(1000, False, 0, 100.0)
    for attempt in (plain, timed, limited):
        attempts.add(attempt)
    assert woken_for == [300.0, limited.limit.check_at]
    assert attempts.next_look == limited.limit.check_at < 200


def test_attempts_count_what_runs_undisturbed(attempts: Attempts) -> None:
    """What is being ended does not, and what has no slot's thread is counted apart."""
    own, adopted = Scripted(running_name("own")), Scripted(running_name("adopted"), takes_slot=True)
    for attempt in (own, adopted):
        attempts.add(attempt)
    assert (attempts.undisturbed, attempts.without_slot) == (2, 1)
    adopted.stop("timeout", 0)
    assert (attempts.undisturbed, attempts.without_slot) == (1, 1)
    attempts.discard(adopted)
    assert (attempts.undisturbed, attempts.without_slot) == (1, 0)
    assert own.name in attempts
    assert adopted.name not in attempts


def test_attempt_whose_file_has_left_running_is_cancelled(spool: Spool, attempts: Attempts) -> None:
    """The others run on."""
    kept, moved = Scripted(running_name("kept")), Scripted(running_name("moved"))
    for attempt in (kept, moved):
        put(spool.layout, attempt.name, state=State.RUNNING)
        attempts.add(attempt)
    attempts.end_disowned()
    assert not kept.ended_for + moved.ended_for
    os.rename(spool.layout.job(State.RUNNING, moved.name), spool.path / "elsewhere")
    attempts.end_disowned()
    assert (kept.ended_for, moved.ended_for) == ([], ["cancelled"])


@pytest.mark.parametrize(("kills", "ended"), [(True, ["max-log"]), (False, [])])
def test_attempt_with_too_much_output(
    attempts: Attempts, reported: Reported, log: int, kills: bool, ended: list[str]
) -> None:
    """It is ended, or the middle of its output is dropped; that is reported once, and the end line gives the reason."""
    attempt = Scripted(running_name("x"), log)
    attempt.limit = LogLimit(100_000, kills, 0, 0.0)
    attempts.add(attempt)
    os.write(log, b"x" * 90_000)
    attempts.enforce()
    assert reported.events() == []
    for _ in range(2):
        os.write(log, b"x" * 90_000)
        attempt.limit.check_at = 0.0
        attempts.enforce()
    assert attempt.ended_for == ended
    (warning,) = reported.events("warning")
    end = "the job is ended" if kills else "its middle is dropped"
    assert warning["message"] == f"its output passed max-log, 97.7 KiB; {end}"
    assert attempt.remark == ("its output passed max-log, 97.7 KiB" if kills else "")


def test_attempt_that_is_over_has_its_log_left_alone(log: int) -> None:
    """Once it is over its log may be closed, so no look touches it and nothing stops it."""
    attempt = Scripted(running_name("x"), log)
    attempt.limit = LogLimit(10, True, 0, 0.0)
    os.write(log, b"x" * 1000)
    attempt.mark_over()
    attempt.check_log(1.0)
    attempt.stop("timeout", 0)
    assert (attempt.limit.has_passed, attempt.ended_for) == (False, [])


def test_limits_are_those_of_the_job_before_those_of_the_spool(reported: Reported) -> None:
    """A field of the job beats the setting, and a job whose file cannot be read has the settings."""
    settings = reported.context.settings._replace(timeout=60.0, max_log=1000, on_max_log=OnMaxLog.DROP)
    own = Body("true", timeout=5.0, max_log=20, on_max_log=OnMaxLog.KILL)
    assert (timeout_of(own, settings), output_limit_of(own, settings)) == (5.0, (20, True))
    for body in (Body("true"), None):
        assert (timeout_of(body, settings), output_limit_of(body, settings)) == (60.0, (1000, False))
    settings = settings._replace(timeout=None, max_log=None)
    assert (timeout_of(None, settings), output_limit_of(None, settings)) == (None, None)
