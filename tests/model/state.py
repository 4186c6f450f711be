"""The state of the model: files, the log, processes, and what each thread has in hand.

All of it is values. A method that stands for a system call returns the state after it, or None where the call fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

from tests.model.protocol import HOST, Protocol, Scene

NOBODY = 0
"""The worker in a name that was made before this boot."""
ALIVE = ("forked", "executed", "running", "said")
"""The stages of a shell. What it leaves is `children`, if it was killed, or a `daemon`, once its end is on record."""
RELEASED, CANCELLED, TIMEOUT, LOST, SIGNAL, SUCCESS = "released", "cancelled", "timeout", "lost", "signal", "exit0"


class Name(NamedTuple):
    """What the name of a file says; `at` is its run_at, started_at or finished_at."""

    state: str
    at: int = 0
    attempts: int = 0
    worker: int = NOBODY
    is_cancelled: bool = False


class Body(NamedTuple):
    """The bytes of a job: their inode, and whose changes they hold (a bit for each user)."""

    inode: int = 0
    changes: int = 0


class File(NamedTuple):
    name: Name
    body: Body


class Attempt(NamedTuple):
    """The lines of one attempt in the log, and what is true of it no matter who wrote that down.

    `noted` is why it was being ended, if no end line was there before that note; `end` is then the last word of one who
    saw all of it gone, and not what its shell says. What is true: `said` is the end of a shell that nobody had sent a
    SIGTERM; `ended` is why it got that, or another signal from anybody, if it was before its end line; `has_begun` is
    whether its command ever ran, also if its lines are lost.
    """

    at: int
    has_start: bool = False
    noted: str = ""
    end: str = ""
    has_begun: bool = False
    said: str = ""
    ended: str = ""

    @property
    def verdict(self) -> str:
        """The result in the log; empty without an end line."""
        return self.end and (self.noted or self.end)

    @property
    def own_end(self) -> str:
        """That of an attempt which was not ended by anybody, as far as the log shows."""
        return "" if self.noted or self.end in (CANCELLED, TIMEOUT, RELEASED, LOST) else self.end


class Shell(NamedTuple):
    """The processes of an attempt. `holds` says whether they have the log's lock, which its claim had and they kept."""

    at: int
    starter: int
    stage: str = "forked"
    holds: bool = True
    is_stopped: bool = False
    is_signalled: bool = False
    """It has got SIGTERM, and catches it."""
    is_stale: bool = False
    """The log that it has open has been deleted."""


class Slot(NamedTuple):
    """A slot's thread: its next step, and what it has in hand."""

    step: str = "read"
    pending: Name | None = None
    name: Name | None = None
    body: Body | None = None
    result: str = ""
    others: tuple[int, ...] = ()
    has_log: bool = False
    holds: bool = False
    is_stale: bool = False


class Look(NamedTuple):
    """A worker's main thread: what it knows of the running job that it looks at, or has adopted."""

    step: str = "find_orphans"
    name: Name | None = None
    has_start: bool = False
    result: str = ""


class User(NamedTuple):
    step: str = "rest"
    name: Name | None = None
    body: Body | None = None
    former: Name | None = None
    """The name that the job had before what this user did to it last, which can be undone."""
    was_over: bool = False
    """Whether the attempt's end was on record when the cancel began."""


class Worker(NamedTuple):
    """`alive`, `stopping` at once, or `dead`.

    All live from the beginning: one that does nothing for a while is one that has not been started yet.
    """

    life: str = "alive"
    slot: Slot = Slot()
    look: Look = Look()

    @property
    def is_alive(self) -> bool:
        return self.life in ("alive", "stopping")


class State(NamedTuple):
    files: tuple[File, ...]
    workers: tuple[Worker, ...]
    users: tuple[User, ...]
    left: Scene
    jobs: int = 0  # how many files of the id there must be
    log: tuple[Attempt, ...] = ()
    shells: tuple[Shell, ...] = ()
    cancelled: frozenset[int] = frozenset()  # the attempts of which a cancel was acknowledged
    changes: int = 0  # those of acknowledged sets
    broken: str = ""

    def names(self, *states: str) -> list[Name]:
        return [file.name for file in self.files if file.name.state in states]

    def body(self, name: Name) -> Body | None:
        return next((file.body for file in self.files if file.name == name), None)

    def rename(self, source: Name, target: Name) -> State | None:
        """rename(2); None if the source is gone."""
        body = self.body(source)
        if body is None:
            return None
        files = tuple(file for file in self.files if file.name not in (source, target))
        return self._replace(files=(*files, File(target, body)))

    def unlink(self, name: Name) -> State | None:
        """unlink(2) of the job's only file; None if it is gone."""
        if self.body(name) is None:
            return None
        return self._replace(files=tuple(file for file in self.files if file.name != name), jobs=self.jobs - 1)

    def exchange(self, one: Name, other: Name) -> State | None:
        """renameat2(2) with RENAME_EXCHANGE; None if one of them is gone."""
        if self.body(one) is None or self.body(other) is None:
            return None
        swapped = {one: other, other: one}
        return self._replace(files=tuple(File(swapped.get(name, name), body) for name, body in self.files))

    def attempt(self, at: int) -> Attempt:
        """logs.find_attempt."""
        return next((attempt for attempt in self.log if attempt.at == at), Attempt(at))

    def put_attempt(self, attempt: Attempt) -> State:
        others = (other for other in self.log if other.at != attempt.at)
        return self._replace(log=(*others, attempt))

    def append_end(self, at: int, end: str, *, overrides: bool = False) -> State:
        """An end line. The first one counts, or the last where nothing shows what came before a SIGTERM."""
        old = self.attempt(at)
        return self if old.end and not overrides else self.put_attempt(old._replace(has_start=True, end=end))

    def shell(self, at: int, *stages: str) -> Shell | None:
        return next((shell for shell in self.shells if shell.at == at and shell.stage in (stages or ALIVE)), None)

    def put_shell(self, old: Shell, **changes: Any) -> State:
        """The processes of that attempt changed; with the stage "" they are gone."""
        new = old._replace(**changes)
        shells = (new if shell is old else shell for shell in self.shells)
        return self._replace(shells=tuple(shell for shell in shells if shell.stage))

    def is_leased(self, worker: int) -> bool:
        """lease.is_worker_alive: until it executes, a child has its parent's locks as well."""
        forked = (shell.starter for shell in self.shells if shell.stage == "forked")
        return self.workers[worker].is_alive or worker in forked

    def held(self) -> set[int]:
        """The attempts whose byte of the log is locked, as an F_OFD_GETLK from elsewhere finds them."""
        held = {shell.at for shell in self.shells if shell.holds and not shell.is_stale and shell.stage != "killed"}
        held |= {w.slot.name.at for w in self.workers if w.slot.holds and w.slot.name and not w.slot.is_stale}
        return held

    @property
    def is_submitting(self) -> bool:
        """Whether the id's byte is locked."""
        return self.users[0].step in ("publish", "keep")

    @property
    def is_being_deleted(self) -> bool:
        """Whether all bytes are."""
        return any(user.step in ("delete_file", "delete_log") for user in self.users)

    def put_slot(self, me: int, slot: Slot) -> State:
        return self.put_worker(me, slot=slot)

    def put_look(self, me: int, look: Look) -> State:
        return self.put_worker(me, look=look)

    def put_worker(self, me: int, **changes: Any) -> State:
        return self._replace(workers=put(self.workers, me, self.workers[me]._replace(**changes)))

    def put_user(self, me: int, user: User) -> State:
        return self._replace(users=put(self.users, me, user))

    def spend(self, what: str) -> State:
        return self._replace(left=self.left._replace(**{what: getattr(self.left, what) - 1}))

    def times(self) -> set[int]:
        """All that something still refers to."""
        names = [file.name for file in self.files]
        others: set[int] = set()
        for worker in self.workers:
            names += [name for name in (worker.slot.pending, worker.slot.name, worker.look.name) if name]
            others.update(worker.slot.others)
        names += [name for user in self.users for name in (user.name, user.former) if name]
        others.update(shell.at for shell in self.shells)
        if self.left.equal_times:
            others.update(attempt.at for attempt in self.log)
        return {name.at for name in names if name.state != "tmp"} | others

    def now(self) -> int:
        """A time that is none of those."""
        times = self.times()
        return next(at for at in range(1, len(times) + 2) if at not in times)


T = TypeVar("T")
Steps = Iterator[tuple[str, State]]
"""What somebody may do next, and the state after it."""


def put(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    return (*items[:index], item, *items[index + 1 :])


class Rules:
    """The protocol and the scene, and what depends on them alone."""

    def __init__(self, protocol: Protocol, scene: Scene) -> None:
        self.protocol = protocol
        self.scene = scene

    def home(self, worker: int) -> str:
        return self.scene.workers[worker - 1]

    def is_held(self, state: State, at: int) -> bool:
        """Whether somebody has that attempt's lock."""
        if state.is_being_deleted:
            return True
        held = state.held()
        return at in held if self.protocol.byte_per_attempt else bool(held) or state.is_submitting

    def seen(self, state: State, viewer: str, at: int, *, own_only: bool = True) -> list[Shell]:
        """processes.find: those of the attempt that carry its token, as seen from that PID namespace."""
        return [
            shell
            for shell in state.shells
            if shell.at == at
            and shell.stage not in ("forked", "killed")
            and (self.home(shell.starter) == viewer or (viewer == HOST and not own_only))
        ]
