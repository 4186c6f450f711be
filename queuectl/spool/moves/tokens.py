"""Reserving an id in a spool that several hosts share, so that whoever finds the reservation can finish the submit.

    tmp/submit.BY     the body of a job, complete before its id is reserved: the token
    logs/ID.log       begins with the line: #queuectl submit by=BY

The log is made by a link, so one submit has the id, and an id is taken for as long as it has a log. Who renames the
token into a state has published the job, and there is only one token. So nobody asks whether a submitter still lives,
whose locks could not be seen from another host: who finds a log and no job renames the token, and answers that the id
is taken (tests/model/hosts_replies.py). The log of a job that waits for others does not name its token, as the edges
come first: if its submitter dies before it is published, its id is taken until `queuectl rm ID`.

A file that was dropped into pending/ is its own token: the line says a hash of its name instead.

CRASH: before the log, a file in tmp/, which goes after a day; after it the job is whole (tests/hosts/test_submit.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from queuectl.core import body, lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import HELD_AT, PendingName
from queuectl.errors import AlreadyExistsError, QueuectlError
from queuectl.spool.reading import query
from queuectl.spool.system import clock, defaults, files, host, identity, lease, logs
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

_PREFIX = "submit."
_LONGEST = 128  # bytes of the line


class Line(NamedTuple):
    """The first line of a log: whose submit it is of, whether the job is held, and the hash of a file's name."""

    by: str
    is_held: bool = False
    source: str = ""

    def format(self) -> str:
        return f"#queuectl submit by={self.by}{' held=1' if self.is_held else ''}" + (
            f" from={self.source}" if self.source else ""
        )


def new_name(layout: Layout) -> str:
    """A name that no other submit has."""
    return f"{host.here(layout).name}.{os.getpid()}.{identity.random_text(8)}"


def path_of(layout: Layout, by: str) -> str:
    return f"{layout.tmp}/{_PREFIX}{by}"


def hash_of(name: str) -> str:
    """Of the name of a dropped file, for the line."""
    from hashlib import sha256  # only files that name their id need it

    return sha256(os.fsencode(name)).hexdigest()[:16]


def create_log(layout: Layout, path: str, line: Line) -> bool:
    """Make a log that begins with that line; False if there is one, unless it is this."""
    temporary = f"{layout.tmp}/log.{identity.random_text(12)}"
    files.write_new(temporary, f"{line.format()}\n".encode(), sync=False)
    try:
        files.publish(temporary, path)
    except FileExistsError:
        return False
    finally:
        files.remove(temporary)
    return True


def read_line(log: int) -> Line | None:
    """The first line of an open log; None if no submit in a shared spool has made it."""
    mark = logs.parse_mark(os.pread(log, _LONGEST, 0).partition(b"\n")[0])
    if mark is None or mark.event != "submit" or "by" not in mark.fields:
        return None
    return Line(mark.fields["by"], "held" in mark.fields, mark.fields.get("from", ""))


def has_begun(log: int) -> bool:
    """Whether there is more in an open log than its first line."""
    head = os.pread(log, _LONGEST, 0)
    return not head.startswith(b"#queuectl submit ") or not head.endswith(b"\n") or head.count(b"\n") != 1


def first_move(layout: Layout, id: str, content: Body, *, priority: int, is_held: bool) -> lifecycle.Move:
    """Where a job that waits for no others is published."""
    move = lifecycle.enqueue(id, priority, HELD_AT if is_held else content.run_at, clock.now())
    if content.unique is not None and isinstance(move.name, PendingName):
        move = lifecycle.ask(move.name)
    return move


def finish(layout: Layout, id: str, line: Line) -> bool:
    """Publish the job of a submit that was begun, if its token is there; whether this call did.

    RACE: the submitter, and others who find it, may do the same: the token is renamed once.
    """
    token = path_of(layout, line.by)
    try:
        content = files.read(token)
        fields = body.decode(content.data)
        job = body.validate(fields)
        if job.references or job.id != id:
            return False
        files.sync_files(layout.tmp, [token])
    except (OSError, QueuectlError):
        return False  # published, given up, or cut off by a power cut of the server
    priority = job.priority if fields.get("priority") is not None else defaults.priorities(layout)(id)
    move = first_move(layout, id, job, priority=priority, is_held=line.is_held)
    done = files.publish_reserved(token, layout.job(*move))
    files.sync_directory(layout.pending)
    return done


def is_named(layout: Layout, path: str) -> bool:
    """Whether the log of its job names that file of tmp/, so that it must stay."""
    name = os.path.basename(path)
    if not name.startswith(_PREFIX):
        return False
    with suppress(OSError, QueuectlError):
        id = body.parse(files.read(path).data).id
        log = files.open_regular(layout.log(id or ""))
        try:
            line = read_line(log)
            return line is not None and line.by == name.removeprefix(_PREFIX)
        finally:
            os.close(log)
    return False


def free(layout: Layout, id: str) -> bool:
    """Free an id that has a log and no job, for `queuectl rm`; False if it has none.

    If a submit of it had begun, its job is queued, and so the id is not freed. Raises AlreadyExistsError then.
    """
    try:
        log = logs.open_existing(layout.log(id))
    except OSError:
        return False
    try:
        line = read_line(log)
        if line is not None and not has_begun(log) and finish(layout, id, line):
            raise AlreadyExistsError(f"a submit of {id} had begun", "it is queued now", f"see: queuectl show {id}")
        return lease.lock_whole(log) and query.locate(layout, id) is None and files.remove(layout.log(id))
    finally:
        lease.close(log)


def keeps_id(layout: Layout, id: str) -> bool:
    """Whether nothing is in the log of an id but who has reserved it."""
    try:
        log = logs.open_existing(layout.log(id))
    except OSError:
        return False
    try:
        return not has_begun(log)
    finally:
        lease.close(log)


def reserve(
    layout: Layout,
    id: str,
    line: Line,
    find_holder: Callable[[str], object],
    *,
    is_back: bool,
    is_wanted: Callable[[str], bool],
) -> tuple[int, bool]:
    """An open log of that id, which this submit has, and whether it was made for it; see `submit.reserve`.

    `find_holder` raises AlreadyExistsError if a job has the id; `is_back`: the job is there, and has come back.
    Raises AlreadyExistsError also for a submit that another has begun: if its job `is_wanted`, it is queued then.
    """
    path = layout.log(id)
    while True:
        is_new = create_log(layout, path, line)
        try:
            log = logs.open_existing(path)
        except FileNotFoundError:
            continue  # it was deleted in the meantime
        try:
            is_locked = lease.lock_id(log) and (is_new or not lease.may_be_running(log))
            if is_new and is_locked and not is_back:
                return log, True
            find_holder("" if is_locked else "busy")
            begun = read_line(log)
            if is_back or is_new:
                return log, is_new
            if line.source and begun is not None and begun.source == line.source:
                return log, False
            if begun is not None and not has_begun(log) and is_wanted(id) and finish(layout, id, begun):
                raise AlreadyExistsError(
                    f"the id {id!r} is taken", "a submit of it had begun elsewhere", f"see: queuectl show {id}"
                )
            find_holder("")
            raise AlreadyExistsError(
                f"the id {id!r} is taken", "it has a log, though no job: one was removed, or is being submitted",
                f"to free it: queuectl rm {id}",
            )  # fmt: skip
        except BaseException:
            lease.close(log)
            raise
