"""The processes of a job (the prelude in queuectl/work/engines/executor.py), and what kill -9 leaves of them."""

from __future__ import annotations

from tests.model.state import Rules, Shell, State, Steps


def steps(rules: Rules, state: State, shell: Shell) -> Steps:
    if not shell.is_stopped:
        yield from STEPS[shell.stage](rules, state, shell)


def forked(rules: Rules, state: State, shell: Shell) -> Steps:
    yield "execve", state.put_shell(shell, stage="executed")


def executed(rules: Rules, state: State, shell: Shell) -> Steps:
    yield "write the start line, run the command", _begun(rules, state, shell, has_start=True)
    if state.left.full and rules.protocol.starts_on_record:
        yield "no room for the start line: exit", state.spend("full").put_shell(shell, stage="")
    elif state.left.full:
        yield "no room for the start line, run the command", _begun(rules, state.spend("full"), shell, has_start=False)


def _begun(rules: Rules, state: State, shell: Shell, *, has_start: bool) -> State:
    attempt = state.attempt(shell.at)
    after = state.put_attempt(attempt._replace(has_start=has_start, has_begun=True))
    if shell.at in state.cancelled:
        after = after._replace(broken="I3")
    if shell.is_stale:
        after = after._replace(broken="I11")
    if any(other.stage in ("running", "children") for other in state.shells):
        after = after._replace(broken="I1")
    return after.put_shell(shell, stage="running", holds=shell.holds and not rules.scene.closes_log)


def running(rules: Rules, state: State, shell: Shell) -> Steps:
    attempt = state.attempt(shell.at)
    if rules.scene.closes_log:
        yield "end without a line", state.put_shell(shell, stage="")
        return
    for result in ("exit0",) if shell.is_signalled else ("exit0", "exit1"):
        is_last_word = not (attempt.noted and rules.protocol.ending_needs_last_word)
        after = state.append_end(shell.at, result) if is_last_word else state
        if not shell.is_signalled:
            after = after.put_attempt(after.attempt(shell.at)._replace(said=result))
        if attempt.end:
            after = after._replace(broken="I5")
        yield f"write the end line, {result}", after.put_shell(shell, stage="said")


def said(rules: Rules, state: State, shell: Shell) -> Steps:
    yield "exit", state.put_shell(shell, stage="")
    if state.left.leaves_daemon:
        yield "exit, and leave a daemon", state.put_shell(shell, stage="daemon")
    if shell.is_signalled:
        yield "exit, and leave what ignores SIGTERM", state.put_shell(shell, stage="children")


def children(rules: Rules, state: State, shell: Shell) -> Steps:
    yield "the command ends", state.put_shell(shell, stage="")


def daemon(rules: Rules, state: State, shell: Shell) -> Steps:
    if state.left.daemon_ends:
        yield "the daemon ends", state.put_shell(shell, stage="")


def killed(rules: Rules, state: State, shell: Shell) -> Steps:
    """A zombie: its worker waits for it."""
    yield from ()


STEPS = {
    "forked": forked,
    "executed": executed,
    "running": running,
    "said": said,
    "children": children,
    "daemon": daemon,
    "killed": killed,
}


def killed_by_others(state: State, shell: Shell, stage: str) -> State:
    """After kill -9 by somebody who has nothing to do with the queue."""
    attempt = state.attempt(shell.at)
    if shell.stage == "running" and not attempt.ended:
        state = state.put_attempt(attempt._replace(ended="kill"))
    return state.put_shell(shell, stage=stage, is_stopped=False)


def stages_after_kill(state: State, shell: Shell) -> tuple[str, ...]:
    if shell.stage == "running":
        return "", "children"
    if shell.stage == "said":
        return ("killed" if state.workers[shell.starter].is_alive else "",)
    return ("",) if shell.stage in ("forked", "executed") else ()
