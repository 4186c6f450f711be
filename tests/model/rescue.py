"""A worker's main thread: orphans, and jobs that it has adopted (spool/rescue.py, work/engines/adopted.py)."""

from __future__ import annotations

from tests.model import ending
from tests.model.slot import checked, settled
from tests.model.state import CANCELLED, LOST, NOBODY, RELEASED, Look, Name, Rules, State, Steps


def find_orphans(rules: Rules, state: State, me: int, look: Look) -> Steps:
    is_idle = state.workers[me].slot.step == "read"
    if state.workers[me].life == "stopping":
        if is_idle:
            yield "Worker.run: exit", state.put_worker(me, life="dead")
        return
    for name in state.names("running"):
        if is_idle if name.worker == me else not state.is_leased(name.worker):
            after = state.put_look(me, Look("read_attempt", name))
            yield f"rescue.find_orphans: {name.at}, of worker {name.worker}", after


def read_attempt(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    attempt = state.attempt(look.name.at)
    if attempt.verdict:
        following = _ended(look.name, attempt.verdict)
        if rules.protocol.settling_continues and ending.is_stopped(rules, state, rules.home(me), look.name.at):
            following = following._replace(step="continue_ended")
        yield f"logs.read_attempt: {attempt.verdict}", state.put_look(me, following)
    elif attempt.has_start:
        yield "logs.read_attempt: no end line", state.put_look(me, Look("carries_token", look.name, True))
    else:
        yield "logs.read_attempt: no start line", state.put_look(me, Look("is_locked", look.name))


def _ended(name: Name, result: str) -> Look:
    return Look("release" if result == RELEASED else "finish", name, True, result)


def continue_ended(rules: Rules, state: State, me: int, look: Look) -> Steps:
    """Its worker died while it looked whether it had ended."""
    assert look.name
    after = ending.stopped(rules, state, rules.home(me), look.name.at, is_stopped=False)
    yield "rescue: SIGCONT to a shell that has ended", after.put_look(me, _ended(look.name, look.result))


def carries_token(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    shell = state.shell(look.name.at)
    if shell and rules.home(me) == rules.home(shell.starter):
        yield "processes.carries_token: its shell lives", state.put_look(me, look._replace(step="adopt"))
    else:
        yield "processes.carries_token: no", state.put_look(me, look._replace(step="is_locked"))


def is_locked(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    if rules.is_held(state, look.name.at) and rules.protocol.rescue_asks_lock:
        yield "lease.is_locked: yes", state.put_look(me, look._replace(step="look_closer"))
    else:
        step = "read_again" if rules.protocol.rescue_reads_last else "lost"
        yield "lease.is_locked: no", state.put_look(me, look._replace(step=step))


def look_closer(rules: Rules, state: State, me: int, look: Look) -> Steps:
    """The log is locked, and its shell was not seen. Was it killed?"""
    assert look.name
    own_only = rules.protocol.rescue_ends_own_only
    has_left = rules.seen(state, rules.home(me), look.name.at, own_only=own_only)
    if look.has_start and not state.attempt(look.name.at).verdict and has_left:
        yield "logs.read_attempt: no end line still", state.put_look(me, look._replace(step="end_rest"))
    else:
        yield "rescue.examine: unclear", state.put_look(me, Look())


def end_rest(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    yield "processes.terminate: end what is left", _rest_killed(rules, state, me, look.name.at).put_look(me, Look())


def _rest_killed(rules: Rules, state: State, me: int, at: int) -> State:
    seen = rules.seen(state, rules.home(me), at, own_only=rules.protocol.rescue_ends_own_only)
    if any(shell.stage in ("executed", "running", "said") for shell in seen):
        state = state._replace(broken="I7")
    return state._replace(shells=tuple(shell for shell in state.shells if shell not in seen))


def read_again(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    attempt = state.attempt(look.name.at)
    if attempt.verdict:
        yield f"logs.read_attempt: {attempt.verdict}", state.put_look(me, _ended(look.name, attempt.verdict))
    elif attempt.has_start and not look.has_start and rules.protocol.rescue_begins_again:
        yield "logs.read_attempt: it has just started; unclear", state.put_look(me, Look())
    else:
        look = look._replace(has_start=attempt.has_start)
        yield "logs.read_attempt: no end line", state.put_look(me, look._replace(step="lost"))


def lost(rules: Rules, state: State, me: int, look: Look) -> Steps:
    """No end line and nobody who holds the lock: `lost`, or never started."""
    assert look.name
    if look.has_start or (look.name.worker == NOBODY and rules.protocol.boot_makes_lost):
        after = _rest_killed(rules, state, me, look.name.at)
        yield "rescue.examine: lost", after.put_look(me, look._replace(step="note_end", result=LOST))
    else:
        yield "rescue.examine: never started", state.put_look(me, look._replace(step="release"))


def note_end(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    overrides = look.result != LOST and not rules.protocol.notes_ending
    after = state.append_end(look.name.at, look.result, overrides=overrides)
    result = after.attempt(look.name.at).verdict
    after = after.put_look(me, Look() if result == CANCELLED else _ended(look.name, result))
    yield f"adopted._note_end: {result}", after


def finish(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    label, after = settled(state, look.name, look.result)
    yield label, after.put_look(me, Look())


def release(rules: Rules, state: State, me: int, look: Look) -> Steps:
    """Where it was claimed: its old time is not known any more."""
    assert look.name
    target = Name("pending", look.name.at, look.name.attempts - 1)
    if state.body(target) is not None:
        target = target._replace(at=state.now())
    after = checked(state.rename(look.name, target), look.name, RELEASED)
    yield "claims.release: rename to pending/", (after or state).put_look(me, Look())


def adopt(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    name = look.name._replace(worker=me)
    after = state.rename(look.name, name)
    if after is None:
        yield "Adopted._adopt: rename, too late", state.put_look(me, Look())
    else:
        step = "cont" if rules.protocol.adoption_continues else "adopted"
        yield "Adopted._adopt: rename to a name of its own", after.put_look(me, Look(step, name, True))


def cont(rules: Rules, state: State, me: int, look: Look) -> Steps:
    """Its worker may have died while it looked. If that was to end it, its end is carried out."""
    assert look.name
    noted = state.attempt(look.name.at).noted
    if noted and rules.protocol.adoption_carries_out:
        yield (
            f"Adopted._adopt: it was being ended, {noted}",
            state.put_look(me, look._replace(step="term", result=noted)),
        )
        return
    after = ending.stopped(rules, state, rules.home(me), look.name.at, is_stopped=False)
    yield "Adopted._adopt: SIGCONT to its shell", after.put_look(me, look._replace(step="adopted"))


def adopted(rules: Rules, state: State, me: int, look: Look) -> Steps:
    assert look.name
    shell = state.shell(look.name.at)
    if shell is None:
        yield "Adopted.end: its shell is gone", state.put_look(me, Look("read_attempt", look.name))
    elif look.result != "own":
        if state.body(look.name) is None:
            yield from _begun(rules, state, me, look, CANCELLED, "Adopted.end_disowned")
        if state.workers[me].life == "stopping":
            yield from _begun(rules, state, me, look, RELEASED, "Adopted.end_all")


def _begun(rules: Rules, state: State, me: int, look: Look, why: str, label: str) -> Steps:
    """The first phase of ending the job."""
    yield from end(rules, state, me, look._replace(step=ending.first(rules, why), result=why), label)


def end(rules: Rules, state: State, me: int, look: Look, who: str = "Adopted._stop") -> Steps:
    assert look.name
    for label, after, phase in ending.phases(rules, state, rules.home(me), look.name.at, look.step, look.result):
        following = look._replace(step={"resumed": "adopted", "ended": "note_end"}.get(phase, phase))
        if phase == "resumed":
            following = following._replace(result="own")
        yield f"{who}: {label}", after.put_look(me, following)


STEPS = {
    "find_orphans": find_orphans,
    "read_attempt": read_attempt,
    "continue_ended": continue_ended,
    "carries_token": carries_token,
    "is_locked": is_locked,
    "look_closer": look_closer,
    "end_rest": end_rest,
    "read_again": read_again,
    "lost": lost,
    "note_end": note_end,
    "finish": finish,
    "release": release,
    "adopt": adopt,
    "cont": cont,
    "adopted": adopted,
    **dict.fromkeys(ending.PHASES, end),
}
