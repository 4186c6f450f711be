"""Checking a spool's invariants, explaining violations, and repairing what is safe to repair.

Looks only at files and locks, so it may run alongside workers: whatever seems wrong is checked again before it is
reported. A repair never deletes a job, never changes a body, and is never needed by workers: they fix all of this
themselves, or ignore it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from queuectl.core import body, groups, lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import (
    SUFFIX,
    FinishedName,
    Name,
    PendingName,
    RunningName,
    is_ignored,
    is_valid_id,
    is_worker,
    looks_meant,
)
from queuectl.core.outbox import Entry
from queuectl.core.result import State
from queuectl.errors import InvalidJobError, NotJsonError
from queuectl.spool.moves import adopt, asked, tokens, unique
from queuectl.spool.reading import hosts, query, schedules
from queuectl.spool.system import beats, clock, files, keys, layout, lease, logs, pause, place, progress, versions
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.layout import STATES, Layout
from queuectl.spool.upkeep import fsck_edges, rescue
from queuectl.spool.upkeep.findings import STALE, Finding, Weight

_MOST_OF_INBOX = 100
_OWN_TMP = ("ballast", "config.lock", "prune.lock", "past.lock")


def check(spool: Layout, host: str) -> Iterator[Finding]:
    """Everything that is wrong in a spool, as seen from the workers' host `host`."""
    yield from _check_directories(spool)
    yield from _check_place(spool)
    known: set[str] = set()  # nothing else is kept of a million jobs
    twins: set[str] = set()
    for state in STATES:
        for text in sorted(query.list_names(spool, state)):
            name = query.parse_name(state, text)
            if name is None:
                yield from _check_foreign(spool, state, text)
                continue
            (twins if name.id in known else known).add(name.id)
            yield from _check_job(spool, state, text, name)
    for id, held in sorted(query.find_files(spool, twins).items()):
        yield from _check_twins(spool, id, held)
    yield from _check_orphans(spool, host)
    yield from _check_hosts(spool)
    yield from _check_asked(spool)
    yield from _check_logs(spool, known)
    yield from _check_pause(spool)
    yield from _check_groups(spool)
    yield from _check_schedules(spool)
    yield from _check_keys(spool)
    yield from fsck_edges.check_edges(spool)
    yield from fsck_edges.check_waiting(spool)
    yield from _check_inbox(spool)
    yield from _check_taken(spool)
    yield from _check_leftovers(spool)
    yield from _check_progress(spool)
    yield from _check_workers(spool, host)
    yield from _check_versions(spool)


def _check_directories(spool: Layout) -> Iterator[Finding]:
    for directory in ("tmp", "logs", "workers"):
        path = f"{spool.root}/{directory}"
        if not os.path.isdir(path):
            yield Finding(Weight.NOTE, path, "the directory is missing", "it is created when needed", _complete(spool))


def _check_place(spool: Layout) -> Iterator[Finding]:
    copy = place.find_copy(spool)
    if copy is not None and copy.has_jobs:
        what = f"the spool was copied or moved from {copy.original}; workers refuse it, as its jobs might run twice"
        yield Finding(Weight.NOTE, spool.root, what, "if they are to run here: queuectl worker start --copied")


def _complete(spool: Layout) -> Callable[[], bool]:
    def repair() -> bool:
        layout.complete(spool.root)
        return True

    return repair


def _check_foreign(spool: Layout, state: State, text: str) -> Iterator[Finding]:
    path = spool.job(state, text)
    if files.is_gone(path):
        return
    if state is State.PENDING:
        if not is_ignored(text):
            yield Finding(Weight.NOTE, path, "dropped, and not adopted yet", "a worker adopts or refuses it")
        elif looks_meant(text):
            what = "ignored, as its name does not end in .json"
            yield Finding(Weight.NOTE, path, what, "if it is a job, rename it; else move it elsewhere")
    elif text.endswith(SUFFIX):
        remedy = "if it is a job, move it to pending/, else remove it"
        yield Finding(Weight.PROBLEM, path, f"not a valid name for a file in {state}/", remedy)


def _check_job(spool: Layout, state: State, text: str, name: Name) -> Iterator[Finding]:
    """One file: regular, complete, and in the directory that its result belongs to."""
    path = spool.job(state, text)
    is_refused = isinstance(name, FinishedName) and name.result.kind == "invalid"
    job, problem = (None, None) if is_refused else _read(path, name.id)
    if problem and not files.is_gone(path):
        if state is State.PENDING:
            yield Finding(Weight.NOTE, path, problem, "a worker waits for the rest, or refuses it")
        else:
            yield Finding(Weight.PROBLEM, path, problem, f"fix the file or drop it: queuectl dlq drop {name.id}")
    if isinstance(name, PendingName) and job is not None and job.unique is not None:
        yield from _check_key(spool, name, job)
    may_be_anywhere = isinstance(name, FinishedName) and name.result.is_skipped
    if isinstance(name, FinishedName) and not may_be_anywhere and name.result.is_success != (state is State.DONE):
        yield Finding(Weight.PROBLEM, path, f"a job that ended as {name.result} is in {state}/", "move it by hand")


def _read(path: str, id: str) -> tuple[Body | None, str | None]:
    """The body of a job, and what is wrong with its file; neither if that is gone."""
    try:
        content = files.read(path)
        job = body.parse(content.data)
        if job.id != id:
            adopt.require_own_id(id, content.data)
    except FileNotFoundError:
        return None, None
    except files.NotRegularError:
        return None, "not a regular file"
    except OSError as error:
        return None, f"it cannot be read: {error.strerror}"
    except InvalidJobError as error:
        return None, f"not a runnable job: {error.why}"
    except NotJsonError as error:
        return None, "the file is empty" if not content.data else f"not a complete job: {error.what}"
    return job, None


def _check_key(spool: Layout, name: PendingName, job: Body) -> Iterator[Finding]:
    """A job that waits has a number of its key; one that was put there by hand may have none, and another have it."""
    path = spool.job(State.PENDING, name)
    if name.is_asking or any(number.id == name.id for number in keys.list_numbers(keys.folder_of(spool, job))):
        return
    if not files.is_gone(path):  # RACE: else it has ended, and its number with it
        what = f"it waits without having its key {job.unique!r}, which another job may have"
        yield Finding(Weight.NOTE, path, what, "it asks for the key, which a worker finishes", _ask(spool, name))


def _ask(spool: Layout, name: PendingName) -> Callable[[], bool]:
    def repair() -> bool:
        unique.prepare(spool)
        return files.move(spool.job(State.PENDING, name), spool.job(*lifecycle.ask(name)))

    return repair


def _check_twins(spool: Layout, id: str, held: list[tuple[State, str]]) -> Iterator[Finding]:
    """An id names one job. Of two files the one that has got furthest is the job."""
    there = [file for file in held if not files.is_gone(spool.job(*file))]
    if len(there) < 2:
        return  # it moved while the directories were listed
    order = (State.RUNNING, State.DONE, State.DEAD, State.PENDING)
    (state, first), *others = sorted(there, key=lambda file: (order.index(file[0]), file[1]))
    for twin in others:
        if state is State.RUNNING and files.is_same(spool.job(state, first), spool.job(*twin)):
            what = f"a second name of {state}/{first}: a power cut can leave half of a move"
            yield Finding(Weight.NOTE, spool.job(*twin), what, "the next worker removes one of the two")
            continue
        repair = _refuse(spool, id, twin[1]) if twin[0] is State.PENDING else None
        yield Finding(
            Weight.PROBLEM,
            spool.job(*twin),
            f"the id {id} is also held by {state}/{first}",
            "it goes to the dead letters as a duplicate" if repair else "remove one of the two",
            repair,
        )


def _refuse(spool: Layout, id: str, text: str) -> Callable[[], bool]:
    def repair() -> bool:
        name = PendingName.parse(text)
        assert name is not None
        return adopt.refuse(spool, text, f"duplicate: the id {id!r} is taken", clock.now(), name.priority) is not None

    return repair


def _check_orphans(spool: Layout, host: str) -> Iterator[Finding]:
    for name in rescue.find_orphans(spool, host, ""):
        path = spool.job(State.RUNNING, name)
        if not files.is_gone(path):
            yield Finding(Weight.NOTE, path, f"its worker {name.worker} is gone", "the next worker takes it over")
    for name, on in rescue.find_left_on_engines(spool, host):
        place = on.replace(":", " --name ", 1) if on.startswith("slurm:") else on
        remedy = f"the next worker there takes it over: queuectl worker start --on {place}"
        path = spool.job(State.RUNNING, name)
        yield Finding(Weight.NOTE, path, f"its worker {name.worker} is gone, which sent it to {on}", remedy)
    for text in query.list_names(spool, State.RUNNING):
        running = RunningName.parse(text)
        is_away = running and not spool.shared and lease.host_of(running.worker) != host
        if running and is_away and files.is_gone(spool.worker(running.worker)):
            path = spool.job(State.RUNNING, text)
            remedy = f"start a worker there, or if that host is gone for good: mv {path} {spool.pending}/"
            yield Finding(
                Weight.NOTE, path, "it belongs to a worker of another host, which cannot be seen from here", remedy
            )


def _check_logs(spool: Layout, known: set[str]) -> Iterator[Finding]:
    suspects: dict[str, bool] = {}  # whether its log is empty
    for entry in os.listdir(spool.logs) if os.path.isdir(spool.logs) else ():
        id = entry.removesuffix(".log")
        if id in known or not entry.endswith(".log") or not is_valid_id(id):
            continue
        path = spool.log(id)
        with suppress(FileNotFoundError):
            is_empty = os.lstat(path).st_size == 0
            if not lease.is_in_use(path):
                suspects[id] = is_empty
    for _ in range(2):  # as a job that moves backwards may be missed once
        for id in query.find_files(spool, suspects):
            del suspects[id]
    for id, is_empty in sorted(suspects.items()):
        path = spool.log(id)
        if is_empty:
            what = "reserves an id for a job that was never submitted: its submit was interrupted"
            yield Finding(Weight.NOTE, path, what, "the id is free; the log can be removed", _forget_log(spool, id))
        elif spool.shared and tokens.keeps_id(spool, id):
            what = "keeps an id taken: its submit was interrupted, or its job was removed by hand before it ran"
            yield Finding(Weight.NOTE, path, what, f"to queue or free it: queuectl rm {id}")
        elif not files.is_gone(path):
            remedy = f"it keeps the id taken; remove it with: queuectl rm {id}" if spool.shared else ""
            yield Finding(Weight.NOTE, path, "a log without its job", remedy or "remove it if nobody needs it")


def _forget_log(spool: Layout, id: str) -> Callable[[], bool]:
    """Under its lock, so that a process that is just submitting that id does not lose the reservation."""

    def repair() -> bool:
        log = logs.open_log(spool.log(id))
        try:
            if not lease.lock_whole(log) or os.fstat(log).st_size or query.locate(spool, id):
                return False
            return files.remove(spool.log(id))
        finally:
            lease.close(log)

    return repair


def _check_pause(spool: Layout, group: str = "") -> Iterator[Finding]:
    if pause.is_void(spool, clock.now, group):
        what = "a pause without effect: too many jobs had failed, but before work was last resumed"
        yield Finding(Weight.NOTE, spool.pause_of(group), what, "it can be removed")


def _check_groups(spool: Layout) -> Iterator[Finding]:
    """Settings of groups that say nothing, or nothing that can be read: then no job of the group is started."""
    try:
        entries = sorted(os.listdir(spool.groups))
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = "make it a directory, or remove it; until then no group has settings"
        yield Finding(Weight.PROBLEM, spool.groups, f"cannot be read: {error.strerror}", remedy)
        return
    for name in entries:
        path = f"{spool.groups}/{name}"
        if not groups.is_name(name):
            yield Finding(Weight.NOTE, path, "not a name that a group can have", "rename or remove it")
        elif not os.path.isdir(path):
            if not files.is_gone(path):
                yield Finding(Weight.NOTE, path, "not a directory, which holds a group's settings", "remove it")
        else:
            yield from _check_group(spool, name)


def _check_group(spool: Layout, name: str) -> Iterator[Finding]:
    known = (*group_files.KEYS, *group_files.OTHER_FILES)
    with suppress(OSError):
        for entry in sorted(set(os.listdir(spool.group(name))).difference(known)):
            if group_files.is_key(entry):  # the seats of one host
                continue
            what = "not a setting of a group that this version knows"
            yield Finding(Weight.NOTE, f"{spool.group(name)}/{entry}", what, f"these are known: {', '.join(known)}")
    found = group_files.examine(spool, name, clock.now)
    if found is not None and found.problem:
        path, _, what = found.problem.partition(" ")  # neither names of groups nor of settings have spaces
        remedy = f"queuectl group set {name} {os.path.basename(path)}=VALUE"
        yield Finding(Weight.PROBLEM, f"{spool.root}/{path}", f"{what}; no job of the group is started", remedy)
    yield from _check_pause(spool, name)


def _check_schedules(spool: Layout) -> Iterator[Finding]:
    """Schedules that make no jobs, and what in schedules/ is none."""
    try:
        entries = sorted(os.listdir(spool.schedules))
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = "make it a directory, or remove it; until then there are no schedules"
        yield Finding(Weight.PROBLEM, spool.schedules, f"cannot be read: {error.strerror}", remedy)
        return
    for view in schedules.look_at_all(spool, clock.now()):
        if view.problem:
            path = spool.schedule(view.name)
            yield Finding(Weight.PROBLEM, path, f"makes no jobs: {view.problem}", "fix the file, or remove it")
    for entry in entries:
        name, dot, suffix = entry.rpartition(".")
        if suffix == "json" or (suffix == "past" and f"{name}.json" in entries):
            continue
        path = f"{spool.schedules}/{entry}"
        if suffix == "past" and dot:
            yield Finding(Weight.NOTE, path, "the mark of a schedule that is gone", "it can be removed")
        elif looks_meant(entry):
            yield Finding(Weight.NOTE, path, "ignored, as its name does not end in .json", "rename or remove it")


def _check_keys(spool: Layout) -> Iterator[Finding]:
    """Who has a key, and jobs that still ask for theirs although nobody submits them any more."""
    if not os.path.isdir(spool.unique):
        return
    for entry in sorted(os.listdir(spool.unique)):
        path = f"{spool.unique}/{entry}"
        if not keys.is_folder(entry) or not os.path.isdir(path):
            yield Finding(Weight.NOTE, path, "not the directory of a key", "remove it if nobody needs it")
            continue
        for name in keys.find_foreign(path):
            what = "does not name a job, as the number of a key does"
            yield Finding(Weight.NOTE, f"{path}/{name}", what, "remove it if nobody needs it")
    for job in unique.find_left(spool):
        what = "it still asks for its key, as its submit was interrupted"
        yield Finding(Weight.NOTE, job.path, what, "a worker finishes that")


def _check_inbox(spool: Layout) -> Iterator[Finding]:
    """Files in the drop box, up to a hundred of them: others can fill it as they like."""
    if not os.path.isdir(spool.inbox):
        return
    if not os.path.isdir(spool.taken):
        remedy = "create it: queuectl init --drop-box GROUP"
        yield Finding(Weight.PROBLEM, spool.taken, "the directory is missing, so nothing is taken from inbox/", remedy)
    yield from _check_outbox(spool)
    with os.scandir(spool.inbox) as entries:
        for number, entry in enumerate(entries):
            if number == _MOST_OF_INBOX:
                what = f"more than {_MOST_OF_INBOX} files; the others are not shown"
                yield Finding(Weight.NOTE, spool.inbox, what, "a worker takes, refuses or reports them")
                return
            is_file = entry.is_file(follow_symlinks=False) and not is_ignored(entry.name)
            if is_file:
                yield Finding(Weight.NOTE, entry.path, "handed in, and not taken yet", "a worker takes or reports it")
            else:
                what = "never taken: it is not a file, or its name does not end in .json"
                yield Finding(Weight.NOTE, entry.path, what, "remove it if nobody needs it")


def _check_outbox(spool: Layout) -> Iterator[Finding]:
    """What in outbox/ is no entry; entries that are not true yet are made so by the next worker."""
    if not os.path.isdir(spool.outbox):
        what = "the directory is missing, so users do not see what becomes of their jobs"
        yield Finding(Weight.NOTE, spool.outbox, what, "create it: queuectl init --drop-box GROUP")
        return
    for text in sorted(os.listdir(spool.outbox)):
        if Entry.parse(text) is None:
            what = "not a name of an entry; workers leave it alone"
            yield Finding(Weight.NOTE, f"{spool.outbox}/{text}", what, "remove it if nobody needs it")


def _check_taken(spool: Layout) -> Iterator[Finding]:
    for entry in sorted(os.listdir(spool.taken)) if os.path.isdir(spool.taken) else ():
        path = spool.taken_file(entry)
        try:
            is_file = stat.S_ISREG(os.lstat(path).st_mode)
        except FileNotFoundError:
            continue
        if not is_valid_id(entry) or not is_file:
            yield Finding(Weight.PROBLEM, path, "not a file that a worker has taken", "remove it if nobody needs it")
        elif query.locate(spool, entry):
            yield Finding(Weight.NOTE, path, "its job already exists", "the next worker removes it")
        else:
            yield Finding(Weight.NOTE, path, "taken from inbox/, and not a job yet", "the next worker submits it")


def _check_leftovers(spool: Layout) -> Iterator[Finding]:
    now = time.time()
    for entry in sorted(os.listdir(spool.tmp)) if os.path.isdir(spool.tmp) else ():
        path = f"{spool.tmp}/{entry}"
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            is_stale = stat.S_ISREG(status.st_mode) and now - status.st_mtime > STALE
            if entry not in _OWN_TMP and is_stale and not (spool.shared and tokens.is_named(spool, path)):
                what = "left behind by an interrupted submit; it was never acknowledged"
                yield Finding(Weight.NOTE, path, what, "it can be removed", lambda path=path: files.remove(path))  # type: ignore[misc]


def _check_asked(spool: Layout) -> Iterator[Finding]:
    """What is asked of the workers of other hosts; nothing in a spool that is one host's."""
    if not spool.shared:
        return
    running = {(name.id, name.started_at) for name in query.running(spool)}
    known = {os.path.basename(request.path): request for request in asked.read(spool)}
    for entry in sorted(os.listdir(spool.asked)):
        path, request = f"{spool.asked}/{entry}", known.get(entry)
        if request is None:
            yield Finding(Weight.NOTE, path, "asks nothing of a running job", "remove it")
        elif (request.name.id, request.name.started_at) not in running:
            yield Finding(Weight.NOTE, path, "asked of a job that is over", "a worker removes it")
        else:
            what = f"asked of {request.name.worker}, which has not answered"
            yield Finding(Weight.NOTE, path, what, "whether it lives: queuectl worker list")


def _check_progress(spool: Layout) -> Iterator[Finding]:
    for path in progress.find_left(spool, clock.now()):
        what = "the progress of a job that does not run"
        yield Finding(Weight.NOTE, path, what, "a worker removes it", lambda path=path: files.remove(path))  # type: ignore[misc]


def _check_workers(spool: Layout, host: str) -> Iterator[Finding]:
    busy = {name.worker for text in query.list_names(spool, State.RUNNING) if (name := RunningName.parse(text))}
    for entry in sorted(os.listdir(spool.workers)) if os.path.isdir(spool.workers) else ():
        worker = entry.removesuffix(SUFFIX)
        if is_worker(worker) and worker not in busy and _is_here(spool, worker, host) and _is_dead(spool, worker):
            repair = _forget_workers(spool, host)
            yield Finding(
                Weight.NOTE, spool.worker(worker), "this worker is gone", "the next one removes its file", repair
            )


def _check_versions(spool: Layout) -> Iterator[Finding]:
    """Live workers that ignore something that the spool has."""
    number, used = versions.needed(spool)
    for worker in versions.find_older(spool, number) if used else ():
        what = f"this worker is of an older version, and ignores {', '.join(used)} (format {number})"
        remedy = f"start it again with this version: queuectl worker stop {worker}"
        yield Finding(Weight.PROBLEM, spool.worker(worker), what, remedy)


def _is_here(spool: Layout, worker: str, host: str) -> bool:
    return lease.has_life(spool, worker) if spool.shared else lease.host_of(worker) == host


def _check_hosts(spool: Layout) -> Iterator[Finding]:
    """Hosts of a shared spool that have lost contact, and what lies in hosts/ that is no mark."""
    for each in hosts.list_hosts(spool):
        if each.advice and each.mark is not None:
            what, _, remedy = each.advice.partition("; ")
            yield Finding(Weight.NOTE, f"{spool.hosts}/{each.mark}", what, remedy)
    for entry in sorted(os.listdir(spool.hosts)) if spool.shared else ():
        if beats.Mark.parse(entry) is None and entry != "id":
            path = f"{spool.hosts}/{entry}"
            yield Finding(Weight.NOTE, path, "not the mark of a host", "remove it if nobody needs it")


def _is_dead(spool: Layout, worker: str) -> bool:
    try:
        return not lease.is_worker_alive(spool, worker)
    except OSError:
        return False


def _forget_workers(spool: Layout, host: str) -> Callable[[], bool]:
    def repair() -> bool:
        rescue.forget_dead_workers(spool, host)
        return True

    return repair
