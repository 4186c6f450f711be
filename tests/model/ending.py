"""Ending a job's processes: a slot does it, the main thread for an adopted job, a cancel, and a claim that waits.

`peek` (has it begun? else `kill`), `halt` (SIGSTOP to the shell, but not to cancel), `look` (is its end on record?),
then `resume` (SIGCONT) or `note` (why, in the log), `term` (SIGTERM and SIGCONT to all) and `kill` (SIGKILL until none
is left). A kill -9 may come between any two (queuectl/spool/moves/ending.py, queuectl/spool/system/processes.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.state import CANCELLED, Rules, State

PHASES = ("peek", "halt", "look", "resume", "note", "term", "kill")


def first(rules: Rules, why: str) -> str:
    if not rules.protocol.looks_before_kill:
        return "note" if rules.protocol.notes_ending else "term"
    return "peek" if rules.protocol.kills_silent else _second(rules, why)


def _second(rules: Rules, why: str) -> str:
    return "look" if why == CANCELLED and rules.protocol.stops_to_settle else "halt"


def phases(rules: Rules, state: State, viewer: str, at: int, phase: str, why: str) -> Iterator[tuple[str, State, str]]:
    """What is done in this phase, the state after it, and the next one: `resumed` or `ended` at the end."""
    attempt = state.attempt(at)
    if phase == "peek":
        has_start = attempt.has_start
        following = _second(rules, why) if has_start else "kill"
        yield f"logs.find_attempt: {'a' if has_start else 'no'} start line", state, following
    elif phase == "halt":
        yield "SIGSTOP to the shell", stopped(rules, state, viewer, at, is_stopped=True), "look"
    elif phase == "look":
        if attempt.verdict:
            following = "resume" if _second(rules, why) == "halt" else "resumed"
            yield f"logs.find_attempt: {attempt.verdict}", state, following
        else:
            yield "logs.find_attempt: no end line", state, "note" if rules.protocol.notes_ending else "term"
    elif phase == "resume":
        yield "SIGCONT to the shell", stopped(rules, state, viewer, at, is_stopped=False), "resumed"
    elif phase == "note":
        after = state
        if not attempt.verdict and not attempt.noted:
            after = state.put_attempt(attempt._replace(noted=why))
        yield f"logs.append_ending: {why}", after, "term"
    elif phase == "term":
        yield f"SIGTERM and SIGCONT to all of {at}", _signalled(rules, state, viewer, at, attempt.noted or why), "kill"
    else:
        after = killed(rules, state, viewer, at, attempt.noted or why)
        yield f"SIGKILL until none of {at} is left", after, "ended"


def stopped(rules: Rules, state: State, viewer: str, at: int, *, is_stopped: bool) -> State:
    for shell in rules.seen(state, viewer, at):
        if shell.stage in ("executed", "running", "said"):
            state = state.put_shell(shell, is_stopped=is_stopped)
    return state


def is_stopped(rules: Rules, state: State, viewer: str, at: int) -> bool:
    return any(shell.is_stopped for shell in rules.seen(state, viewer, at))


def _signalled(rules: Rules, state: State, viewer: str, at: int, why: str) -> State:
    for shell in rules.seen(state, viewer, at):
        if shell.stage == "running":
            state = _note_truth(state, at, why)
        if shell.stage == "running" and state.left.catches_sigterm:
            state = state.put_shell(shell, is_stopped=False, is_signalled=True)
        else:
            state = state.put_shell(shell, stage="")
    return state


def killed(rules: Rules, state: State, viewer: str, at: int, why: str) -> State:
    seen = rules.seen(state, viewer, at)
    if any(shell.stage == "running" for shell in seen):
        state = _note_truth(state, at, why)
    return state._replace(shells=tuple(shell for shell in state.shells if shell not in seen))


def _note_truth(state: State, at: int, why: str) -> State:
    """What is true of an attempt that gets its first signal, no matter who writes that down."""
    attempt = state.attempt(at)
    return state if attempt.said or attempt.ended else state.put_attempt(attempt._replace(ended=why))
