"""What people do: submit, cancel, retry, delete (submit.py, by_hand.py, prune.py), undo, set, or by hand."""

from __future__ import annotations

from tests.model import ending
from tests.model.state import CANCELLED, RELEASED, SUCCESS, TIMEOUT, Body, File, Name, Rules, State, Steps, User

MOMENTARY = ("rest", "publish")


def wishes(rules: Rules, state: State) -> Steps:
    """What may be begun; where the job lies is seen at once, by `query.find`."""
    for me, user in enumerate(state.users):
        if user.step != "rest":
            continue
        who = f"user {me + 1} of {rules.scene.users[me]}"
        for name in state.names("pending", "running", "done", "dead"):
            is_over = name.state in ("done", "dead")
            if state.left.cancels and not is_over:
                yield f"{who}: cancel", state.spend("cancels").put_user(me, _to_cancel(rules, state, name))
            if state.left.retries and is_over:
                yield f"{who}: retry", state.spend("retries").put_user(me, User("retry", name))
            if state.left.deletes and is_over:
                step = "delete" if rules.protocol.delete_locks_all else "delete_file"
                yield f"{who}: delete", state.spend("deletes").put_user(me, User(step, name))
            if state.left.sets and name.state == "pending":
                step = "lock_body" if rules.protocol.set_locks_body else "look_at"
                yield f"{who}: set, read the body", state.spend("sets").put_user(me, User(step, name, state.body(name)))
        if state.left.undos and user.former:
            step = "undo_lock" if rules.protocol.undo_locks_body else "undo"
            yield f"{who}: undo", state.spend("undos").put_user(me, user._replace(step=step))
        yield from _by_hand(state)


def _by_hand(state: State) -> Steps:
    """One step each."""
    for name in state.names("pending", "running", "done", "dead"):
        if state.left.moves and name.state != "pending":
            after = state.rename(name, Name("pending", state.now()))
            assert after
            yield f"mv {name.state}/ pending/", after.spend("moves")
        if state.left.removes:
            after = state.unlink(name)
            assert after
            yield f"rm {name.state}/", after.spend("removes")
    if state.left.twins and state.jobs:
        files = (*state.files, File(Name("pending", state.now()), Body(100 + state.left.twins)))
        yield "cp into pending/", state._replace(files=files, jobs=state.jobs + 1).spend("twins")


def publish(rules: Rules, state: State, me: int, user: User) -> Steps:
    after = state.rename(Name("tmp"), Name("pending", state.now()))
    assert after is not None
    yield "submit._publish: rename to pending/", after._replace(jobs=1).put_user(me, User("keep"))


def keep(rules: Rules, state: State, me: int, user: User) -> Steps:
    yield "Reservation.keep: close the log, acknowledge", state.put_user(me, User())


# --- cancel


def _to_cancel(rules: Rules, state: State, name: Name) -> User:
    is_running = name.state == "running"
    step = "cancel_look" if is_running and rules.protocol.cancel_looks_first else "cancel"
    said = state.attempt(name.at).said
    return User(step, name, was_over=is_running and said != "" and _counted(state, name, said) == said)


def _counted(state: State, name: Name, result: str) -> str:
    """What a running job is settled as that has ended so: if it would be tried again, that is what is cancelled."""
    return CANCELLED if result != SUCCESS and name.attempts <= state.left.max_retries else result


def cancel_look(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    verdict = state.attempt(user.name.at).own_end
    if verdict:
        after = state
        if rules.protocol.settling_continues:
            after = ending.stopped(rules, state, rules.scene.users[me], user.name.at, is_stopped=False)
        step = f"record_{_counted(state, user.name, verdict)}"
        yield f"by_hand.cancel: {verdict} is on record", after.put_user(me, user._replace(step=step))
    else:
        yield "by_hand.cancel: no end line", state.put_user(me, user._replace(step="cancel"))


def record(rules: Rules, state: State, me: int, user: User) -> Steps:
    """Settle it as the log says, and say that it has ended already."""
    assert user.name
    result = user.step.removeprefix("record_")
    target = Name("done" if result == SUCCESS else "dead", user.name.at, is_cancelled=result == CANCELLED)
    after = state.rename(user.name, target)
    if after is None and user.name.state == "running":
        yield "by_hand.cancel: it has moved, look again", _again(rules, state, me, user.name)
    else:
        if after and user.name.state == "dead" and _was_ended(state, user.name.at):
            after = after._replace(broken="I9")
        yield f"by_hand.cancel: rename to {target.state}/ as {result}", (after or state).put_user(me, User())


def _was_ended(state: State, at: int) -> bool:
    return state.attempt(at).ended in (RELEASED, TIMEOUT, CANCELLED) and not state.attempt(at).said


def _again(rules: Rules, state: State, me: int, name: Name) -> State:
    names = state.names("pending", "running")
    return state.put_user(me, _to_cancel(rules, state, names[0]) if names else User())


def cancel(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    after = state.rename(user.name, Name("dead", user.name.at, is_cancelled=True))
    if after and user.name.state == "pending":
        dead = Name("dead", user.name.at, is_cancelled=True)
        yield "by_hand.cancel: rename to dead/, acknowledge", _may_undo(after, me, dead, user.name)
    elif after:
        after = after._replace(broken="I8") if user.was_over else after
        yield "by_hand.cancel: rename to dead/", after.put_user(me, user._replace(step="wait"))
    else:
        yield "by_hand.cancel: it has moved, look again", _again(rules, state, me, user.name)


def wait(rules: Rules, state: State, me: int, user: User) -> Steps:
    """End what is seen, until the lock is free."""
    assert user.name
    if rules.seen(state, rules.scene.users[me], user.name.at):
        yield from end(rules, state, me, user._replace(step=ending.first(rules, CANCELLED)))
    elif not rules.is_held(state, user.name.at):
        step = "last_look" if rules.protocol.cancel_looks_last else "acknowledge"
        yield "by_hand.is_alive: no", state.put_user(me, user._replace(step=step))
    elif rules.protocol.cancel_needs_lock:
        yield "by_hand.cancel: gives up, not known yet", state.put_user(me, User())
    else:
        yield "by_hand.cancel: gives up, acknowledges", state.put_user(me, user._replace(step="acknowledge"))


def end(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    phases = ending.phases(rules, state, rules.scene.users[me], user.name.at, user.step, CANCELLED)
    for label, after, phase in phases:
        step = {"resumed": "wait_out", "ended": "wait"}.get(phase, phase)
        yield f"by_hand.cancel: {label}", after.put_user(me, user._replace(step=step))


def wait_out(rules: Rules, state: State, me: int, user: User) -> Steps:
    """Its end is on record: nothing is sent; that result counts."""
    assert user.name
    attempt = state.attempt(user.name.at)
    if attempt.own_end:
        dead = Name("dead", user.name.at, is_cancelled=True)
        step = f"record_{_counted(state, user.name, attempt.verdict)}"
        yield "by_hand.cancel: it has ended by itself", state.put_user(me, user._replace(step=step, name=dead))
    else:
        step = "last_look" if rules.protocol.cancel_looks_last else "acknowledge"
        if not rules.is_held(state, user.name.at):
            yield "by_hand.is_alive: no", state.put_user(me, user._replace(step=step))
        yield "by_hand.cancel: gives up, not known yet", state.put_user(me, User())


def last_look(rules: Rules, state: State, me: int, user: User) -> Steps:
    """It is over: what does the log say?"""
    assert user.name
    attempt = state.attempt(user.name.at)
    if attempt.own_end:
        dead = Name("dead", user.name.at, is_cancelled=True)
        step = f"record_{_counted(state, user.name, attempt.verdict)}"
        yield "by_hand.cancel: it has ended by itself", state.put_user(me, user._replace(step=step, name=dead))
    else:
        yield "by_hand.cancel: no end of its own", state.put_user(me, user._replace(step="acknowledge"))


def acknowledge(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    at = user.name.at
    after = state._replace(cancelled=state.cancelled | {at})
    attempt = state.attempt(at)
    if attempt.said and not attempt.noted and state.body(Name("dead", at, is_cancelled=True)) is not None:
        after = after._replace(broken="I8")
    yield "by_hand.cancel: acknowledge", after.put_user(me, User())


# --- retry, delete


def retry(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    waiting = Name("pending", state.now())
    after = state.rename(user.name, waiting)
    if after is None:
        yield "by_hand.retry: rename to pending/, too late", state.put_user(me, User())
    else:
        yield "by_hand.retry: rename to pending/", _may_undo(after, me, waiting, user.name)


def _may_undo(state: State, me: int, name: Name, former: Name) -> State:
    """The user keeps in mind what was done, if that may be undone in this scene."""
    return state.put_user(me, User(name=name, body=state.body(name), former=former) if state.left.undos else User())


def undo_lock(rules: Rules, state: State, me: int, user: User) -> Steps:
    """flock(2) on the file, as for a set, and its body; another file, or none, is left alone."""
    assert user.name
    if state.body(user.name) != user.body:
        yield "undo: it has moved, or is another", state.put_user(me, User())
    elif not _is_locked(rules, state, user.body):
        yield "undo: flock the body, it is the same", state.put_user(me, user._replace(step="undo"))


def undo(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    assert user.former
    name = user.name
    if not rules.protocol.undo_knows_the_name and state.body(name) is None:
        name = next(iter(state.names("pending")), name)
    after = state.rename(name, user.former)
    if after is None:
        yield "undo: rename back, too late", state.put_user(me, User())
    else:
        is_other = after.body(user.former) != user.body or (user.former.state != "pending" and name.attempts)
        yield "undo: rename back", after._replace(broken="I12" if is_other else "").put_user(me, User())


def delete(rules: Rules, state: State, me: int, user: User) -> Steps:
    if state.held() or state.is_submitting or state.is_being_deleted:
        yield "prune.delete: lock all bytes, somebody has one", state.put_user(me, User())
    else:
        yield "prune.delete: lock all bytes", state.put_user(me, user._replace(step="delete_file"))


def delete_file(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    after = state.unlink(user.name)
    if after is None:
        yield "prune.delete: unlink the job, it has moved", state.put_user(me, User())
    else:
        yield "prune.delete: unlink the job", after.put_user(me, user._replace(step="delete_log"))


def delete_log(rules: Rules, state: State, me: int, user: User) -> Steps:
    workers = tuple(
        worker._replace(slot=worker.slot._replace(is_stale=True)) if worker.slot.has_log else worker
        for worker in state.workers
    )
    shells = tuple(shell._replace(is_stale=True) for shell in state.shells)
    after = state._replace(log=(), workers=workers, shells=shells)
    yield "prune.delete: unlink the log, close it", after.put_user(me, User())


# --- set


def lock_body(rules: Rules, state: State, me: int, user: User) -> Steps:
    """flock(2) on the file that was read. It goes with its holder; until then others wait."""
    if not _is_locked(rules, state, user.body):
        yield "edit._lock: flock the body", state.put_user(me, user._replace(step="look_at"))


def _is_locked(rules: Rules, state: State, body: Body | None) -> bool:
    steps = ("look_at", "exchange", *(("undo",) if rules.protocol.undo_locks_body else ()))
    return any(other.step in steps and other.body == body for other in state.users)


def look_at(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    body = state.body(user.name)
    if body == user.body:
        yield "edit._swap: lstat, it is the same", state.put_user(me, user._replace(step="exchange"))
    elif body is None or not rules.protocol.set_locks_body:
        yield "edit._swap: lstat, it has moved", state.put_user(me, User())
    else:
        after = state.put_user(me, user._replace(step="lock_body", body=body))
        yield "edit._swap: lstat, it is another; read that", after


def exchange(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    assert user.body
    new = File(Name("tmp", me + 1), Body(me + 1, user.body.changes | 1 << me))
    after = state._replace(files=(*state.files, new)).exchange(new.name, user.name)
    if after is None:
        yield "edit._swap: exchange, too late", state.put_user(me, User())
    elif rules.protocol.set_locks_body:
        yield "edit._swap: exchange, acknowledge", _changed(after, me)
    else:
        yield "edit._swap: exchange", after.put_user(me, user._replace(step="look_back"))


def look_back(rules: Rules, state: State, me: int, user: User) -> Steps:
    if state.body(Name("tmp", me + 1)) == user.body:
        yield "edit._swap: it was the one expected, acknowledge", _changed(state, me)
    else:
        yield "edit._swap: it was another", state.put_user(me, user._replace(step="exchange_back"))


def exchange_back(rules: Rules, state: State, me: int, user: User) -> Steps:
    assert user.name
    after = state.exchange(Name("tmp", me + 1), user.name)
    if after:
        yield "edit._swap: exchange back", after.put_user(me, User())
    else:
        yield "edit._swap: exchange back, too late; acknowledge", _changed(state, me)


def _changed(state: State, me: int) -> State:
    return state._replace(changes=state.changes | 1 << me).put_user(me, User())


STEPS = {
    "publish": publish,
    "keep": keep,
    "cancel_look": cancel_look,
    "cancel": cancel,
    "wait": wait,
    "wait_out": wait_out,
    "last_look": last_look,
    "acknowledge": acknowledge,
    "retry": retry,
    "undo_lock": undo_lock,
    "undo": undo,
    "delete": delete,
    "delete_file": delete_file,
    "delete_log": delete_log,
    "lock_body": lock_body,
    "look_at": look_at,
    "exchange": exchange,
    "look_back": look_back,
    "exchange_back": exchange_back,
    **dict.fromkeys(ending.PHASES, end),
    **{f"record_{result}": record for result in ("exit0", "exit1", "signal", "lost", "timeout", "released", CANCELLED)},
}
