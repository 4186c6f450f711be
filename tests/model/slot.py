"""A slot's thread: claim, run, settle (spool/claims.py, work/slots.py, work/engines/executor.py)."""

from __future__ import annotations

from tests.model import ending
from tests.model.state import (
    CANCELLED,
    LOST,
    RELEASED,
    SIGNAL,
    SUCCESS,
    TIMEOUT,
    Name,
    Rules,
    Shell,
    Slot,
    State,
    Steps,
)


def read(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    if state.workers[me].life != "alive":
        return
    for name in state.names("pending"):
        slot = Slot("rename", name, body=state.body(name))
        if rules.scene.sets:
            yield "claims.claim: read the body", state.put_slot(me, slot)
        else:  # what was read stays true until the rename
            yield from rename(rules, state, me, slot)


def rename(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.pending
    moments = [state.now()]
    if state.left.equal_times:
        moments += [n.at for n in state.names("running")] + [a.at for a in state.log if a.at not in state.cancelled]
    for at in dict.fromkeys(moments):
        name = Name("running", at, slot.pending.attempts + 1, me)
        after = state.rename(slot.pending, name)
        if after is None:
            yield "claims.claim: rename, too late", state.put_slot(me, Slot())
            return
        after = after if at == moments[0] else after.spend("equal_times")
        after = after.put_slot(me, slot._replace(step="open", name=name))
        if rules.scene.deletes:
            yield f"claims.claim: rename to running/; this is {at}", after
        else:
            for label, opened in open_log(rules, after, me, after.workers[me].slot):
                yield f"claims.claim: rename to running/, {label}; this is {at}", opened


def open_log(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    step = "lock" if rules.protocol.claim_locks_before_lstat else "lstat"
    yield "open the log", state.put_slot(me, slot._replace(step=step, has_log=True))


def lock(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    step = "lstat" if rules.protocol.claim_locks_before_lstat else _after_lstat(rules)
    if slot.is_stale or not rules.is_held(state, slot.name.at):
        after = state.put_slot(me, slot._replace(step=step, holds=True))
        is_old = rules.protocol.claim_knows_its_time and state.attempt(slot.name.at).has_start
        if is_old or (rules.protocol.claim_knows_log and slot.is_stale):
            after = state.put_slot(me, slot._replace(step="put_back", has_log=False))
        yield "lease.try_lock: the attempt's byte", after
    elif rules.protocol.claim_needs_lock:
        yield "lease.try_lock: no", state.put_slot(me, slot._replace(step="put_back", has_log=False))
    else:
        yield "lease.try_lock: no, and on without", state.put_slot(me, slot._replace(step=step))


def _after_lstat(rules: Rules) -> str:
    return "others" if rules.protocol.claim_sees_others else _start(rules)


def _start(rules: Rules) -> str:
    return "duplicate" if rules.scene.twins else "fork"


def others(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    found = () if slot.is_stale else tuple(sorted(state.held() - {slot.name.at}))
    if not rules.protocol.byte_per_attempt:
        found = ()  # its own lock is the only one there is
    step = "ended" if found else _start(rules)
    yield f"lease.others: {found or 'none'}", state.put_slot(me, slot._replace(step=step, others=found))


def lstat(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    body = state.body(slot.name)
    if body is None:
        yield "claims._begin: lstat, it is gone", state.put_slot(me, Slot())
    elif body != slot.body:
        back = slot._replace(step="give_back", has_log=False, holds=False)
        yield "claims._begin: lstat, it is another file", state.put_slot(me, back)
    else:
        step = _after_lstat(rules) if rules.protocol.claim_locks_before_lstat else "lock"
        yield "claims._begin: lstat, it is there", state.put_slot(me, slot._replace(step=step))


def ended(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    """Of each other attempt whose byte is held: is its end on record?"""
    live = tuple(at for at in slot.others if not state.attempt(at).verdict)
    if not rules.protocol.claim_reads_their_ends:
        live = slot.others
    if live:
        back = slot._replace(step="put_back", others=live, has_log=False, holds=False)
        yield f"logs.has_end: {live} may live", state.put_slot(me, back)
    else:
        yield "logs.has_end: they have ended", state.put_slot(me, slot._replace(step=_start(rules), others=()))


def duplicate(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    """A log that does not end the way this job's should, and another file of the id: it is refused."""
    assert slot.name
    yield "claims._is_expected: yes", state.put_slot(me, slot._replace(step="fork"))
    if state.log and any(name != slot.name for name in state.names("pending", "running", "done", "dead")):
        yield "claims._is_expected: no", state.put_slot(me, slot._replace(step="refuse", has_log=False, holds=False))


def refuse(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    yield "drops.refuse: rename to dead/ under another id", (state.unlink(slot.name) or state).put_slot(me, Slot())


def put_back(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    after = state.rename(slot.name, Name("pending", state.now(), slot.name.attempts - 1))
    following = Slot()
    others = [at for at in slot.others if state.attempt(at).has_start]
    if after and others and rules.protocol.claim_ends_others:
        following = Slot("find_others", name=slot.name._replace(at=others[0]))
    yield "claims._begin: rename to pending/, for later", (after or state).put_slot(me, following)


def find_others(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    """Processes of the attempt that it waits for, of which no file is in running/: it has been disowned."""
    assert slot.name
    if rules.seen(state, rules.home(me), slot.name.at) and not state.names("running"):
        following = slot._replace(step=ending.first(rules, CANCELLED), result="other")
        yield "ending.end_disowned: it has been disowned", state.put_slot(me, following)
    else:
        yield "ending.end_disowned: no", state.put_slot(me, Slot())


def give_back(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    """As if it had not been claimed."""
    assert slot.name
    target = Name("pending", state.now(), slot.name.attempts - 1)
    if slot.pending and state.body(slot.pending) is None:
        target = slot.pending
    after = checked(state.rename(slot.name, target), slot.name, RELEASED)
    yield "claims.release: rename to pending/", (after or state).put_slot(me, Slot())


def fork(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    assert slot.body
    shell = Shell(slot.name.at, me, holds=slot.holds, is_stale=slot.is_stale)
    after = state._replace(shells=(*state.shells, shell))
    # What was cancelled since its claim, and is ended now, is not what runs next, even if the job was retried and set.
    if state.body(slot.name) is not None and state.changes & ~slot.body.changes:
        after = after._replace(broken="I4")
    yield f"Spawner.spawn: fork for {slot.name.at}", after.put_slot(me, slot._replace(step="waitid"))


def waitid(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    at = slot.name.at
    attempt, shell, zombie = state.attempt(at), state.shell(at), state.shell(at, "killed")
    if shell is None and zombie is None and not attempt.has_start and rules.protocol.starts_on_record:
        yield "Execution.wait: it has not started", state.put_slot(me, slot._replace(step="give_back"))
    elif shell is None:
        has_line = bool(attempt.own_end) and (rules.protocol.line_over_status or zombie is None)
        result = attempt.own_end if has_line else SIGNAL
        after = state.put_shell(zombie, stage="") if zombie else state
        step = "settle" if has_line else "terminate"
        yield f"Execution.wait: {result}", after.put_slot(me, slot._replace(step=step, result=result))
    elif shell.stage != "forked" and slot.result != "own":
        if state.body(slot.name) is None:
            yield from _begun(rules, state, me, slot, CANCELLED, "Slots.end_disowned")
        if state.workers[me].life == "stopping":
            yield from _begun(rules, state, me, slot, RELEASED, "Execution.stop")


def _begun(rules: Rules, state: State, me: int, slot: Slot, why: str, label: str) -> Steps:
    """The first phase of ending the job."""
    yield from end(rules, state, me, slot._replace(step=ending.first(rules, why), result=why), label)


def end(rules: Rules, state: State, me: int, slot: Slot, who: str = "Execution.stop") -> Steps:
    """Each phase of it."""
    assert slot.name
    is_other = slot.result == "other"
    why = CANCELLED if is_other else slot.result
    for label, after, phase in ending.phases(rules, state, rules.home(me), slot.name.at, slot.step, why):
        following = slot._replace(step={"resumed": "waitid", "ended": "record_end"}.get(phase, phase))
        if phase == "resumed":
            following = following._replace(result="own")
        if is_other and phase in ("resumed", "ended"):
            following = Slot()
        yield f"{who}: {label}", after.put_slot(me, following)


def terminate(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    after = ending.killed(rules, state, rules.home(me), slot.name.at, "signal")
    yield "processes.terminate: end what is left", after.put_slot(me, slot._replace(step="record_end"))


def record_end(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    """The end line, unless one is there; what the log then says counts. Killed and disowned means cancelled."""
    assert slot.name
    is_cancelled = slot.result == SIGNAL and state.body(slot.name) is None
    end = CANCELLED if is_cancelled else slot.result
    after = state.append_end(slot.name.at, end, overrides=not rules.protocol.notes_ending)
    result = after.attempt(slot.name.at).verdict if rules.protocol.line_over_status else end
    step = {RELEASED: "give_back", CANCELLED: "close"}.get(result, "settle")
    yield f"executor.record_end: {result}", after.put_slot(me, slot._replace(step=step, result=result))


def settle(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    assert slot.name
    label, after = settled(state, slot.name, slot.result)
    yield label, after.put_slot(me, slot._replace(step="close"))


def close(rules: Rules, state: State, me: int, slot: Slot) -> Steps:
    yield "Slots._attempt: close the log", state.put_slot(me, Slot())


def settled(state: State, name: Name, result: str) -> tuple[str, State]:
    """settle.finish: done/, or back to pending/ while retries are left, or dead/."""
    if result == SUCCESS:
        target = Name("done", name.at)
    elif name.attempts > state.left.max_retries:
        target = Name("dead", name.at)
    else:
        target = Name("pending", state.now(), name.attempts)
    after = checked(state.rename(name, target), name, result)
    if after is None:
        return f"settle.finish: rename as {result}, it is gone", state
    return f"settle.finish: rename to {target.state}/ as {result}", after


def checked(after: State | None, name: Name, result: str) -> State | None:
    """The state after a worker's rename out of running/, which must agree with what is true of the attempt."""
    if after is None:
        return None
    attempt = after.attempt(name.at)
    if attempt.said and attempt.said != result:
        return after._replace(broken="I5")
    if result == RELEASED and attempt.has_begun and attempt.ended in ("", "kill") and attempt.noted != RELEASED:
        return after._replace(broken="I10")
    if attempt.ended in (RELEASED, TIMEOUT, CANCELLED) and result not in (attempt.ended, LOST):
        return after._replace(broken="I9")
    return after


STEPS = {
    "read": read,
    "rename": rename,
    "open": open_log,
    "lock": lock,
    "others": others,
    "lstat": lstat,
    "ended": ended,
    "find_others": find_others,
    "duplicate": duplicate,
    "refuse": refuse,
    "put_back": put_back,
    "give_back": give_back,
    "fork": fork,
    "waitid": waitid,
    "terminate": terminate,
    "record_end": record_end,
    "settle": settle,
    "close": close,
    **dict.fromkeys(ending.PHASES, end),
}
