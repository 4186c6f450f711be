"""The files of `after/`: what each job that waits for others waits for.

    after/DEP/CHILD     CHILD waits for DEP
    after/DEP/CHILD+    that is fulfilled, for good

All edges of a child are durable before it is published, and stay until it has got its own time, was released,
cancelled or deleted; who did that removes them. A directory goes with its last edge, and is made again by a writer
that finds it gone. What is in an edge's file is a hint, and may be missing: the name of the child in pending/, and how
many edges it has.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

from queuectl.core.names import is_valid_id
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

MARK = "+"
"""At the end of the name of a fulfilled edge; no id contains it."""
_ENOUGH = 8  # directories, from which on one syncfs is cheaper than an fsync of each


class Hint(NamedTuple):
    """What an edge says of its child: its name in pending/, if known, and how many edges it was given; 0 if unknown."""

    name: str = ""
    number: int = 0


def write(layout: Layout, child: str, deps: Collection[str], hint: Hint, *, fulfilled: Collection[str] = ()) -> None:
    """Make these edges of a child, durably. Those that are there, open or fulfilled, stay as they are.

    CRASH: edges without a child, which the slow beat removes (tests/torture/syscalls.py).
    """
    sync(layout, write_some(layout, child, deps, hint, fulfilled=fulfilled))


def write_some(
    layout: Layout, child: str, deps: Collection[str], hint: Hint, *, fulfilled: Collection[str] = ()
) -> list[str]:
    """`write` that is not durable yet: returns what `sync` has to be called with."""
    data = f"{hint.name} {hint.number}\n".encode()
    made: list[str] = []
    for dep in deps:
        if _exists(_path(layout, dep, child) + MARK):
            continue
        path = _path(layout, dep, child) + (MARK if dep in fulfilled else "")
        if _create(layout, dep, path, data):
            made.append(layout.edges(dep))
    return made


def sync(layout: Layout, made: Collection[str]) -> None:
    """Make edges durable that were just written in these directories."""
    if not made or (len(made) > _ENOUGH and files.sync_all(layout.after)):
        return
    for directory in {*made}:
        files.sync_directory(directory)
    files.sync_directory(layout.after)
    files.sync_directory(layout.root)


def _create(layout: Layout, dep: str, path: str, data: bytes) -> bool:
    """Whether it was not there."""
    while True:
        try:
            files.write_new(path, data, sync=False)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # RACE: who removes the last edge of a directory removes it too (tests/spool/upkeep/test_edges.py).
            for directory in (layout.after, layout.edges(dep)):
                with suppress(FileExistsError, FileNotFoundError):
                    os.mkdir(directory, 0o700)
        else:
            return True


def mark(layout: Layout, dep: str, child: str) -> bool:
    """Mark an edge as fulfilled; False if it is not open."""
    path = _path(layout, dep, child)
    return files.move(path, path + MARK)


def forget(layout: Layout, child: str, deps: Iterable[str]) -> None:
    """Remove the edges of a child, open and fulfilled."""
    for dep in deps:
        path = _path(layout, dep, child)
        if files.remove(path) | files.remove(path + MARK):
            remove_empty(layout, dep)


def remove_empty(layout: Layout, dep: str) -> bool:
    """Remove a directory in which nothing waits any more; False if there is something."""
    try:
        os.rmdir(layout.edges(dep))
    except OSError:
        return False
    return True


def is_open(layout: Layout, dep: str, child: str) -> bool:
    return _exists(_path(layout, dep, child))


def is_fulfilled(layout: Layout, dep: str, child: str) -> bool:
    return _exists(_path(layout, dep, child) + MARK)


def has_any(layout: Layout, dep: str = "") -> bool:
    """Whether anything waits for that job, or has (default: for any): one look."""
    return _exists(layout.edges(dep))


def waiting_for(layout: Layout, dep: str) -> list[str]:
    """The children with an open edge to that job. Without any it costs one failed lookup."""
    return [name for name in names(layout, dep) if is_valid_id(name)]


def names(layout: Layout, dep: str) -> list[str]:
    """The files of `after/DEP/`."""
    try:
        return os.listdir(layout.edges(dep))
    except (FileNotFoundError, NotADirectoryError):
        return []


def dependencies(layout: Layout) -> Iterator[str]:
    """Every DEP that has a directory."""
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from filter(is_valid_id, os.listdir(layout.after))


def edges_of(layout: Layout, child: str, deps: Iterable[str] | None = None) -> dict[str, bool]:
    """What a child waits for: for each of these dependencies (default: all in `after/`) whether it is fulfilled."""
    found = {}
    for dep in dependencies(layout) if deps is None else deps:
        if is_open(layout, dep, child):
            found[dep] = False
        elif is_fulfilled(layout, dep, child):
            found[dep] = True
    return found


def hint(layout: Layout, dep: str, child: str) -> Hint:
    """What the edge says of its child; nothing if it is gone, empty, or was made by hand."""
    try:
        text = files.read(_path(layout, dep, child)).data.decode()
        name, number = text.split()
        return Hint(name, int(number))
    except (OSError, ValueError):
        return Hint()


def renumber(layout: Layout, child: str, deps: Collection[str], name: str) -> None:
    """Let the edges of a child say how many there are now: some of those that were made are lost, with their jobs.

    They are written in place, so an edge that is being renamed stays one file.
    """
    data = f"{name} {len(deps)}\n".encode()
    for dep in deps:
        for path in (_path(layout, dep, child), _path(layout, dep, child) + MARK):
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_TRUNC)
                try:
                    os.write(fd, data)
                finally:
                    os.close(fd)


def _path(layout: Layout, dep: str, child: str) -> str:
    return f"{layout.edges(dep)}/{child}"


def _exists(path: str) -> bool:
    """Whether there is a file; True also if the system cannot say."""
    return not files.is_gone(path)
