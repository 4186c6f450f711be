"""From a claim to the settled job: start the attempt, await its end, put it on record, and settle it by that."""

from __future__ import annotations

import errno
import os
import shlex
import time
from contextlib import suppress
from datetime import timedelta

from queuectl.core.result import CANCELLED, Result, State
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import lease, logs
from queuectl.work.attempts import Attempts, output_limit_of, timeout_of
from queuectl.work.context import Context
from queuectl.work.engines.engine import Engine, LeftError, Run, record_end, record_last_word
from queuectl.work.log_limit import LogLimit
from queuectl.work.places import Given
from queuectl.work.prelude import CANNOT_RUN, NOT_STARTED
from queuectl.work.settle import finish, release

_CANCELLED = logs.format_outcome(CANCELLED)
_NOT_STARTED = Result.exit(NOT_STARTED)
_AGAIN = timedelta(seconds=2)


def start(context: Context, engine: Engine, claim: Claim, given: Given | None, begun: float) -> Run:
    """Start a claimed job's command, with what it is `given`, and report that; raises OSError if it cannot be started.

    `begun` is now, in monotonic seconds.
    """
    name, body, settings = claim.name, claim.body, context.settings_of(claim.name.id)
    retries = settings.max_retries if body.max_retries is None else body.max_retries
    text = f"attempt {name.attempt} of {retries + 1}: {summarize(body.command)}"
    context.report.event("start", name.id, text, attempt=name.attempt)
    context.outbox.note(State.RUNNING, name)
    if body.warnings and name.attempt == 1:
        context.report.event("warning", name.id, "; ".join(body.warnings))
    run = engine.start(claim, given)
    timeout, most = timeout_of(body, settings), output_limit_of(body, settings)
    if timeout is not None and not run.keeps_time:
        run.deadline = begun + timeout
    if most is not None:
        run.limit = LogLimit(*most, claim.offset, begun)
    return run


def see_through(context: Context, attempts: Attempts, engine: Engine, run: Run, begun: float) -> bool:
    """Await the end of an attempt that is watched over, and settle its job; False if that is left to the next worker.

    `begun` is when it did, in monotonic seconds. Its log is closed.
    """
    try:
        result = run.wait(context.settings.grace)
        duration = time.monotonic() - begun if run.took is None else run.took
        attempts.discard(run)
        settle_run(context, attempts, run, result, duration)
        engine.settled(run)
    except LeftError:
        attempts.discard(run)
        return False
    finally:
        lease.close(run.log)
    return True


def settle_run(context: Context, attempts: Attempts, run: Run, result: Result, duration: float) -> None:
    """Put the end of an attempt on record, and settle its job by it; or give it back if it could not be started."""
    name = run.claim.name
    if result == _NOT_STARTED and run.reason is None and not _has_start(run):
        release(context, name, "its log cannot be written", max(run.claim.run_at, context.now() + _AGAIN))
        return
    outcome = logs.format_outcome(result)
    if run.reason == "release":
        outcome = f"result={logs.RELEASED}"
    elif run.reason == "cancelled" or (result.kind == "signal" and attempts.is_disowned(run)):
        outcome = _CANCELLED
    try:
        if run.limit is None:
            record_end(run.claim, run.pid, outcome, run.remark)
        else:
            run.trim_log()
            record_end(run.claim, run.pid, outcome, run.remark)
            run.trim_log(is_on_record=True)
        if run.usage is not None and run.reason != "release" and outcome != _CANCELLED:  # else the next may run
            waited = (name.started_at - run.claim.run_at).total_seconds()
            logs.append_usage(run.log, name.attempt, run.usage, waited)
    except OSError:
        pass  # a full disk: the name will hold the result
    if run.reason == "release":
        release(context, name, "its worker was stopped", run.claim.run_at)
        return
    if run.reason == "cancelled" and run.was_ended and context.layout.shared:
        result = CANCELLED  # another host has asked for it: the file is still in running/
    if not finish(context, name, run.claim.body, result, duration):
        with suppress(OSError):
            record_last_word(run.claim)


def _has_start(run: Run) -> bool:
    """Whether its whole start line is in the log; True if the log cannot be read."""
    try:
        attempt = logs.find_attempt(run.log, run.claim.name)
    except OSError:
        return True
    return attempt is not None and attempt.pid is not None


def summarize(command: str | tuple[str, ...]) -> str:
    """The beginning of a command, for the report."""
    text = command if isinstance(command, str) else shlex.join(command)
    return text if len(text) <= 60 else f"{text[:59]}…"


def settle_unstarted(context: Context, claim: Claim, error: OSError) -> bool:
    """The command could not be started: the job's fault if it is too large, else the machine's; whether it was that."""
    is_its_fault = error.errno in (errno.E2BIG, errno.EINVAL, errno.ENOEXEC)
    result = Result.exit(CANNOT_RUN)
    if is_its_fault:
        with suppress(OSError):
            record_end(claim, os.getpid(), logs.format_outcome(result), f"cannot be run: {error.strerror}")
    lease.close(claim.log)  # first, or the next claim would find this one
    if is_its_fault:
        finish(context, claim.name, claim.body, result, 0.0)
    else:
        release(context, claim.name, f"cannot start a process: {error.strerror}", claim.run_at)
    return not is_its_fault
