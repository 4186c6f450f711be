"""The processes of a job (the prelude in queuectl/work/executor.py), and what kill -9 leaves of them."""

from __future__ import annotations

from tests.model.state import Rules, Shell, State, Steps


def steps(rules: Rules, state: State, shell: Shell) -> Steps:
    at, attempt = shell.at, state.attempt(shell.at)
    if shell.is_stopped:
        return
    if shell.stage == "forked":
        yield "execve", state.put_shell(shell, stage="executed")
    elif shell.stage == "executed":
        after = state.put_attempt(attempt._replace(has_start=True, has_begun=True))
        if at in state.cancelled:
            after = after._replace(broken="I3")
        if shell.is_stale:
            after = after._replace(broken="I11")
        if any(other.stage in ("running", "children") for other in state.shells):
            after = after._replace(broken="I1")
        holds = shell.holds and not rules.scene.closes_log
        yield "write the start line, run the command", after.put_shell(shell, stage="running", holds=holds)
    elif shell.stage == "running":
        yield from _end(rules, state, shell)
    elif shell.stage == "said":
        yield "exit", state.put_shell(shell, stage="")
        if state.left.leaves_daemon:
            yield "exit, and leave a daemon", state.put_shell(shell, stage="daemon")
        if shell.is_told:
            yield "exit, and leave what ignores SIGTERM", state.put_shell(shell, stage="children")
    elif shell.stage == "children":
        yield "the command ends", state.put_shell(shell, stage="")
    elif shell.stage == "daemon" and state.left.daemon_ends:
        yield "the daemon ends", state.put_shell(shell, stage="")


def _end(rules: Rules, state: State, shell: Shell) -> Steps:
    attempt = state.attempt(shell.at)
    if rules.scene.closes_log:
        yield "end without a line", state.put_shell(shell, stage="")
        return
    for result in ("exit0",) if shell.is_told else ("exit0", "exit1"):
        is_last_word = not (attempt.noted and rules.protocol.ending_needs_last_word)
        after = state.append_end(shell.at, result) if is_last_word else state
        if not shell.is_told:
            after = after.put_attempt(after.attempt(shell.at)._replace(said=result))
        if attempt.end:
            after = after._replace(broken="I5")
        yield f"write the end line, {result}", after.put_shell(shell, stage="said")


def stages_after_kill(state: State, shell: Shell) -> tuple[str, ...]:
    if shell.stage == "running":
        return "", "children"
    if shell.stage == "said":
        return ("killed" if state.workers[shell.starter].is_alive else "",)
    return ("",) if shell.stage in ("forked", "executed") else ()
