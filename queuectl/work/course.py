"""From an attempt that has started to the settled job: await its end, put it on record, and settle it by that."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress

from queuectl.core.result import CANCELLED, Result
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import logs
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context
from queuectl.work.engines.engine import Engine, LeftError, Run, record_end, record_last_word
from queuectl.work.prelude import CANNOT_RUN
from queuectl.work.settle import finish, release

_CANCELLED = logs.format_outcome(CANCELLED)


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
        os.close(run.log)
    return True


def settle_run(context: Context, attempts: Attempts, run: Run, result: Result, duration: float) -> None:
    """Put the end of an attempt on record, and settle its job by it."""
    name = run.claim.name
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
    elif not finish(context, name, run.claim.body, result, duration):
        with suppress(OSError):
            record_last_word(run.claim)


def settle_unstarted(context: Context, claim: Claim, error: OSError) -> bool:
    """The command could not be started: the job's fault if it is too large, else the machine's; whether it was that."""
    is_its_fault = error.errno in (errno.E2BIG, errno.EINVAL, errno.ENOEXEC)
    result = Result.exit(CANNOT_RUN)
    if is_its_fault:
        with suppress(OSError):
            record_end(claim, os.getpid(), logs.format_outcome(result), f"cannot be run: {error.strerror}")
    os.close(claim.log)  # first, or the next claim would find this one
    if is_its_fault:
        finish(context, claim.name, claim.body, result, 0.0)
    else:
        release(context, claim.name, f"cannot start a process: {error.strerror}", claim.run_at)
    return not is_its_fault
