"""The life of one job as a model: every step is one system call that touches what others see.

Workers of several PID namespaces, users, the job's shells, and `kill -9` of any of them, in every order. Being stopped
needs no step, but for the shells that somebody stops to look at them: who is not chosen for a while is stopped, and
every deadline may pass at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model import rescue, shell, slot, user
from tests.model.checker import Report, Step, explore, follow
from tests.model.ending import first
from tests.model.protocol import Protocol, Scene
from tests.model.state import TIMEOUT, Attempt, Body, File, Look, Name, Rules, Slot, State, Steps, User, Worker, put


class Job(Rules):
    """The model: `steps` yields what may happen next in a state. A thread's next step is the function of that name."""

    def initial(self) -> State:
        """The id is reserved and its byte locked; the body lies in tmp/."""
        users = (User("publish"), *[User()] * (len(self.scene.users) - 1))
        workers = (Worker("dead"), *[Worker()] * len(self.scene.workers))  # the first is NOBODY
        return State((File(Name("tmp"), Body()),), workers, users, self.scene)

    def steps(self, state: State) -> Iterator[Step[State]]:
        if _is_over_for_good(state):
            return
        for label, after in self._progress(state):
            yield Step(label, _tidied(after))
        for label, after in (*self._faults(state), *user.wishes(self, state)):
            yield Step(label, _tidied(after), is_progress=False)

    def _progress(self, state: State) -> Steps:
        for me, worker in enumerate(state.workers):
            if worker.is_alive:
                for label, after in slot.STEPS[worker.slot.step](self, state, me, worker.slot):
                    yield f"worker {me}, slot: {label}", after
                for label, after in rescue.STEPS[worker.look.step](self, state, me, worker.look):
                    yield f"worker {me}, main: {label}", after
        for me, person in enumerate(state.users):
            if person.step != "rest":
                for label, after in user.STEPS[person.step](self, state, me, person):
                    yield f"user {me + 1}: {label}", after
        for process in state.shells:
            for label, after in shell.steps(self, state, process):
                yield f"shell of {process.at}: {label}", after

    def _faults(self, state: State) -> Steps:
        for me, worker in enumerate(state.workers[1:], 1):
            if worker.is_alive and state.left.worker_kills:
                dead = state.put_worker(me, life="dead", slot=Slot(), look=Look())
                yield f"kill -9 worker {me}", dead.spend("worker_kills")
            if worker.life == "alive" and state.left.stops:
                yield f"worker stop --now, of {me}", state.put_worker(me, life="stopping").spend("stops")
            if worker.is_alive and state.left.timeouts:
                yield from self._timeouts(state, me, worker)
        if state.left.shell_kills:
            for process in state.shells:
                for stage in shell.stages_after_kill(state, process):
                    after = shell.killed_by_others(state, process, stage).spend("shell_kills")
                    yield f"kill -9 the shell of {process.at}, leaving {stage or 'nothing'}", after
        if state.left.user_kills:
            for me, person in enumerate(state.users):
                if person.step not in ("rest", "publish"):
                    yield f"kill -9 user {me + 1}", state.spend("user_kills").put_user(me, User())
        if state.left.reboots and not state.is_submitting:
            yield from _reboots(state)

    def _timeouts(self, state: State, me: int, worker: Worker) -> Steps:
        _, slot_, look = worker
        if slot_.step == "waitid" and slot_.name and self._can_time_out(state, slot_.name, slot_.result):
            after = state.put_slot(me, slot_._replace(step=first(self, TIMEOUT), result=TIMEOUT))
            yield f"timeout of {slot_.name.at}", after.spend("timeouts")
        if look.step == "adopted" and look.name and self._can_time_out(state, look.name, look.result):
            after = state.put_look(me, look._replace(step=first(self, TIMEOUT), result=TIMEOUT))
            yield f"timeout of {look.name.at}, adopted", after.spend("timeouts")

    def _can_time_out(self, state: State, name: Name, result: str) -> bool:
        return result != "own" and state.shell(name.at, "executed", "running", "said") is not None


def _reboots(state: State) -> Steps:
    """All processes are gone; what was written to a log last may be, too."""
    files = tuple(file._replace(name=file.name._replace(worker=0)) for file in state.files if file.name.state != "tmp")
    workers = (state.workers[0], *[Worker()] * (len(state.workers) - 1))
    users = (User(),) * len(state.users)
    after = state._replace(files=files, workers=workers, users=users, shells=(), cancelled=frozenset())
    yield "reboot", after.spend("reboots")
    if state.log:
        log = tuple(Attempt(attempt.at, has_begun=attempt.has_begun) for attempt in state.log)
        yield "reboot, and the log's lines are lost", after._replace(log=log).spend("reboots")


def _tidied(state: State) -> State:
    """No more than what something still refers to, in one order."""
    files, workers, shells, users = state.files, state.workers, state.shells, state.users
    if len(files) > 1:
        live = {me + 1 for me, person in enumerate(users) if person.step in ("look_back", "exchange_back")}
        files = tuple(sorted(file for file in files if file.name.state != "tmp" or file.name.at in live))
    names = {file.name for file in files}
    for me, (_, slot_, look) in enumerate(workers):
        if look.step in _RENAMES and look.name not in names:  # too late, which changes nothing
            workers = put(workers, me, workers[me]._replace(look=Look()))
        if slot_.step in ("put_back", "give_back", "refuse") and slot_.name not in names and not slot_.holds:
            workers = put(workers, me, workers[me]._replace(slot=Slot()))
    if len(shells) > 1:
        shells = tuple(sorted(shells))
    cancelled = state.cancelled
    if cancelled:
        cancelled &= {w.slot.name.at for w in workers if w.slot.name} | {process.at for process in shells}
    state = state._replace(files=files, workers=workers, shells=shells, cancelled=cancelled)
    if state.log:
        times = state.times()
        log = state.log if state.left.equal_times else (a for a in state.log if a.at in times)
        state = state._replace(log=tuple(sorted(log)))
    return state


_RENAMES = ("finish", "release", "adopt")
"""Steps of the main thread that rename; a name in running/ never comes back."""


def broken(state: State) -> str:
    """The invariant that a state breaks, or an empty text."""
    jobs = sum(file.name.state != "tmp" for file in state.files)
    return state.broken or ("I2" if jobs != state.jobs else "")


def is_over(state: State) -> bool:
    return state.users[0].step != "publish" and not state.names("pending", "running")


def is_done(state: State) -> bool:
    """The job is over, and nothing is left behind that would hold its log for ever."""
    return is_over(state) and not any(process.is_stopped for process in state.shells)


def _is_over_for_good(state: State) -> bool:
    """Nothing can break any more."""
    left = state.left
    return is_over(state) and not (
        left.retries
        or left.moves
        or left.twins
        or left.deletes
        or (left.undos and any(person.former for person in state.users))
        or state.shells
        or any(worker.slot.name for worker in state.workers)
        or any(person.step != "rest" for person in state.users)
    )


def has_no_worker(rules: Rules, state: State) -> bool:
    """No worker that could bring the job to its end: none lives, or none where its stopped shell can be continued."""
    homes = {rules.home(me) for me, worker in enumerate(state.workers) if me and worker.life == "alive"}
    return not homes or any(process.is_stopped and rules.home(process.starter) not in homes for process in state.shells)


def check(
    protocol: Protocol, scene: Scene, limit: int = 4_000_000, *, until: str = "", behind: tuple[str, ...] = ()
) -> Report:
    """Explore all of it; or, if `until` names an invariant, until that is broken; or what comes behind a trace.

    A trace is given by patterns of its labels; LookupError if there is none like it.
    """
    model = Job(protocol, scene)
    return explore(
        follow(model.initial(), model.steps, behind),
        model.steps,
        broken,
        is_goal=is_done,
        may_end=lambda state: has_no_worker(model, state),
        limit=limit,
        until=until,
    )
