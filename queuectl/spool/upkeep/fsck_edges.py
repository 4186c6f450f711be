"""Checking `after/`, and the jobs that wait for others, for `fsck`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from queuectl.core.after import Verdict
from queuectl.core.names import PendingName, is_valid_id, looks_waiting
from queuectl.core.result import State
from queuectl.spool.moves import dependents
from queuectl.spool.reading import query
from queuectl.spool.reading.whereabouts import Whereabouts
from queuectl.spool.system import edges, files, lease
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep import edges as beat
from queuectl.spool.upkeep.findings import STALE, Finding, Weight


def check_edges(spool: Layout) -> Iterator[Finding]:
    """What in after/ does not say what a job waits for."""
    try:
        entries = sorted(os.listdir(spool.after))
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = "make it a directory, or remove it; until then no job can wait for another"
        yield Finding(Weight.PROBLEM, spool.after, f"cannot be read: {error.strerror}", remedy)
        return
    children: dict[str, list[str]] = {}
    for dep in entries:
        directory = spool.edges(dep)
        if not is_valid_id(dep):
            yield Finding(Weight.NOTE, directory, "not the id of a job", "remove it if nobody needs it")
        elif os.path.isdir(directory):
            yield from _check_edges_to(spool, dep, children)
        elif not files.is_gone(directory):
            what = f"not a directory, so no job can wait for {dep}"
            yield Finding(Weight.PROBLEM, directory, what, "remove it if nobody needs it")
    where = Whereabouts(spool)
    where.expect(children)
    for child, deps in sorted(children.items()):
        if beat.may_have_edges(where.look(child)) or lease.is_in_use(spool.log(child)):
            continue
        left = edges.edges_of(spool, child, deps)
        if left:
            path = f"{spool.edges(deps[0])}/{child}{edges.MARK if left.get(deps[0]) else ''}"
            what = f"{child} does not wait: {len(left)} of its files in after/ are left"
            yield Finding(Weight.NOTE, path, what, "a worker removes them", _forget_edges(spool, child, deps))


def _check_edges_to(spool: Layout, dep: str, children: dict[str, list[str]]) -> Iterator[Finding]:
    """The directory of one dependency; adds what is there to `children`."""
    directory = spool.edges(dep)
    found = edges.names(spool, dep)
    with suppress(OSError):
        if not found and time.time() - os.stat(directory).st_mtime > STALE:
            what = "the directory is left, and nothing waits for that job"
            yield Finding(Weight.NOTE, directory, what, "a worker removes it", lambda: edges.remove_empty(spool, dep))
    for name in sorted(found):
        child = name.removesuffix(edges.MARK)
        if is_valid_id(child):
            if dep not in children.setdefault(child, []):
                children[child].append(dep)
        elif not files.is_gone(f"{directory}/{name}"):
            what = "not the name of a job that waits"
            yield Finding(Weight.NOTE, f"{directory}/{name}", what, "remove it if nobody needs it")


def _forget_edges(spool: Layout, child: str, deps: list[str]) -> Callable[[], bool]:
    return lambda: beat.clean(spool, child, deps)


def check_waiting(spool: Layout) -> Iterator[Finding]:
    """Jobs that wait, and would not if a worker had looked at them."""
    routine = dependents.Dependents(spool)
    for text in sorted(filter(looks_waiting, query.list_names(spool, State.PENDING))):
        name, path = PendingName.parse(text), spool.job(State.PENDING, text)
        job = query.load(spool, State.PENDING, text) if name is not None else None
        if name is None or job is None or job.problem is not None:
            continue
        verdict, lacking = routine.judge(name.id, job.fields or {})
        if verdict is None:
            what, remedy = "its time is that of a job that waits for others, and it names none", "a worker holds it"
        elif lacking:
            what, remedy = f"after/{lacking[0]}/{name.id} is missing", "a worker makes it again"
        elif verdict is not Verdict.WAIT:
            what = (
                "all that it waits for has ended" if verdict is Verdict.DUE else "what it waits for cannot come about"
            )
            remedy = f"a worker {'starts' if verdict is Verdict.DUE else 'skips'} it"
        else:
            continue
        if not files.is_gone(path) and not lease.is_in_use(spool.log(name.id)):
            yield Finding(Weight.NOTE, path, what, remedy)
