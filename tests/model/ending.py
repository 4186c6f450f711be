"""Ending a job's processes: a slot does it, the main thread for an adopted job, and a cancel.

`halt` (SIGSTOP to the shell), `look` (is its end on record?), then `resume` (SIGCONT) or `note` (why, into the log),
`term` (SIGTERM and SIGCONT to all) and `kill` (SIGKILL until none is left). A kill -9 may come between any two.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.state import Rules, State

FIRST = "halt"
PHASES = ("halt", "look", "resume", "note", "term", "kill")


def first(rules: Rules) -> str:
    return "halt" if rules.protocol.looks_before_kill else "note" if rules.protocol.notes_ending else "term"


def phases(rules: Rules, state: State, viewer: str, at: int, phase: str, why: str) -> Iterator[tuple[str, State, str]]:
    """What is done in this phase, the state after it, and the next one: `resumed` or `ended` at the end."""
    attempt = state.attempt(at)
    if phase == "halt":
        yield "SIGSTOP to the shell", _stopped(rules, state, viewer, at, is_stopped=True), "look"
    elif phase == "look":
        if attempt.verdict:
            yield f"logs.read_attempt: {attempt.verdict}", state, "resume"
        elif not attempt.has_start and rules.protocol.kills_silent:  # the command has not begun
            yield "logs.read_attempt: no start line", state, "kill"
        else:
            yield "logs.read_attempt: no end line", state, "note" if rules.protocol.notes_ending else "term"
    elif phase == "resume":
        yield "SIGCONT to the shell", _stopped(rules, state, viewer, at, is_stopped=False), "resumed"
    elif phase == "note":
        after = state
        if not attempt.verdict and not attempt.noted:
            after = state.put_attempt(attempt._replace(noted=why))
        yield f"logs.append_note: ending, {why}", after, "term"
    elif phase == "term":
        yield f"SIGTERM and SIGCONT to all of {at}", _told(rules, state, viewer, at, attempt.noted or why), "kill"
    else:
        yield f"SIGKILL until none of {at} is left", killed(rules, state, viewer, at), "ended"


def _stopped(rules: Rules, state: State, viewer: str, at: int, *, is_stopped: bool) -> State:
    for shell in rules.seen(state, viewer, at):
        if shell.stage in ("executed", "running", "said"):
            state = state.put_shell(shell, is_stopped=is_stopped)
    return state


def _told(rules: Rules, state: State, viewer: str, at: int, why: str) -> State:
    for shell in rules.seen(state, viewer, at):
        is_live = shell.stage in ("executed", "running")
        if is_live:
            attempt = state.attempt(at)
            if not attempt.said:
                state = state.put_attempt(attempt._replace(ended=attempt.ended or why))
        if is_live and state.left.catches_sigterm:
            state = state.put_shell(shell, is_stopped=False, is_told=True)
        else:
            state = state.put_shell(shell, stage="")
    return state


def killed(rules: Rules, state: State, viewer: str, at: int) -> State:
    seen = rules.seen(state, viewer, at)
    for shell in seen:
        attempt = state.attempt(at)
        if shell.stage in ("executed", "running") and not attempt.said and not attempt.ended:
            state = state.put_attempt(attempt._replace(ended="kill"))
    return state._replace(shells=tuple(shell for shell in state.shells if shell not in seen))
