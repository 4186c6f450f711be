"""Settling an attempt: which way the job goes, the rename, and the line in the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from queuectl.core import lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import CANCELLED, LOST, SUCCESS, Result
from queuectl.core.text import format_count, format_seconds
from queuectl.errors import SpoolError
from queuectl.spool.moves import claims
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout
from queuectl.work.context import Context

_Target = TypeVar("_Target")
_TRY_AGAIN = 1.0


def finish(context: Context, name: RunningName, body: Body | None, result: Result, duration: float) -> bool:
    """Settle an attempt that has ended, by its result, and report what comes next; False if others have settled it."""
    word = str(result)
    took = f"{word} in {format_seconds(duration)}"
    if result == SUCCESS:
        move, event, text = lifecycle.succeed(name, result, duration, context.now()), "done", took
    else:
        move, event, text = _fail(context, name, body, result, duration, took)
    settled = _patiently(claims.settle, context, name, move)
    if settled is None:
        return True
    if settled and body is not None and body.unique is not None:
        _note_place(context, body, move)
    facts = {"attempt": name.attempt, "result": word, "duration": round(duration * 1000) / 1000}
    if not settled:
        _report_settled_by_others(context, name, result, duration, facts)
        return False
    context.report.event(event, name.id, text, **facts)
    context.outbox.note(*move)
    context.hooks.notify("retry" if event == "lost" else event, move.state, move.name, **facts)
    if event == "dead":
        context.brake.note(name.id)
    return True


def _note_place(context: Context, body: Body, move: lifecycle.Move) -> None:
    """Save the next submit of the job's key a search for it."""
    from queuectl.spool.moves import holders  # only jobs with a key need it

    holders.note(context.layout, body, *move)


def _report_settled_by_others(
    context: Context, name: RunningName, result: Result, duration: float, facts: dict[str, Any]
) -> None:
    """Report an attempt whose job was cancelled, most likely, or removed, or moved by hand, while it ran."""
    found = query.locate(context.spool.layout, name.id)
    now_named = query.parse_name(*found) if found is not None else None
    if found is not None and now_named is not None:
        context.outbox.note(found[0], now_named)
    took = format_seconds(duration)
    if isinstance(now_named, FinishedName) and now_named.result == CANCELLED:
        facts["result"] = str(CANCELLED)
        context.report.event("cancelled", name.id, f"cancelled after {took}", **facts)
        return
    context.report.event("gone", name.id, f"{result} in {took}; its file was moved or removed, which counts", **facts)


def _fail(
    context: Context, name: RunningName, body: Body | None, result: Result, duration: float, took: str
) -> tuple[lifecycle.Move, str, str]:
    """Where a failed attempt leads, the event that it is, and what is reported of it."""
    now, policy = context.now(), context.settings_of(name.id).policy
    if body is not None:
        policy = body.policy(policy)
    move = lifecycle.fail(name, result, duration, policy, now, context.rng)
    if isinstance(move.name, PendingName):
        claims.note_end(context.spool.layout, name, now, duration)
        wait = max(0.0, (move.name.run_at - now).total_seconds())
        text = f"{took}; attempt {name.attempt + 1} of {policy.max_retries + 1} in {format_seconds(wait)}"
        return move, "lost" if result == LOST else "retry", text
    why = "not retried, " if policy.is_permanent(result) else ""
    text = f"{took}; {why}gave up after {format_count(name.attempt, 'attempt')}; see: queuectl logs {name.id}"
    return move, "dead", text


def notify_refused(context: Context, id: str) -> None:
    """Call hooks for a file that was not a valid job, and is now a dead letter under that id."""
    found = query.locate(context.spool.layout, id) if context.hooks.is_wanted("dead") else None
    if found is not None and (name := query.parse_name(*found)) is not None:
        context.hooks.notify("dead", found[0], name, result="invalid")


def release(context: Context, name: RunningName, why: str, run_at: datetime | None = None) -> None:
    """Give a claim back; the attempt does not count, and with `run_at` the job waits where it waited before."""
    if _patiently(claims.release, context, name, run_at):
        context.report.event("released", name.id, f"{why}; returned to pending, the attempt does not count")


def give_back(context: Context, name: RunningName, run_at: datetime) -> None:
    """`release` without a word: the job was not to be started yet."""
    _patiently(claims.release, context, name, run_at)


def _patiently(
    settle: Callable[[Layout, RunningName, _Target], bool], context: Context, name: RunningName, target: _Target
) -> bool | None:
    """Settle, however long the disk stays full; None from a worker that is to stop, which leaves it to the next one."""
    has_failed = False
    while True:
        try:
            settled = settle(context.spool.layout, name, target)
        except SpoolError as error:
            has_failed = True
            context.report.once("settle", "error", f"cannot record the end of {name.id}: {error}; trying again")
            if context.stopping:
                return None
            time.sleep(_TRY_AGAIN)
            continue
        if has_failed:
            context.report.over("settle", "the end of jobs can be recorded again")
        return settled
