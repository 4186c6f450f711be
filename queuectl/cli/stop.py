"""`queuectl worker stop`"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, say, spool_to_complete
from queuectl.cli.targets import read_ids
from queuectl.errors import AmbiguousIdError, NotFoundError, UsageError, WaitTimeoutError
from queuectl.spool.reading.itself import itself
from queuectl.spool.store import Spool
from queuectl.spool.system import lease, processes
from queuectl.spool.system.layout import Layout

_LOOK = 0.1


def _complete_worker(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    spool = spool_to_complete(ctx)
    workers = spool.workers() if spool else ()
    return [worker["worker"] for worker in workers if worker["alive"] and worker["worker"].startswith(incomplete)]


@click.command("stop")
@click.argument("ids", nargs=-1, metavar="[ID... | -]", shell_complete=_complete_worker)
@click.option("--now", is_flag=True, help="End the running jobs too, and requeue them.")
@click.option(
    "--detach", is_flag=True, help="Stop at once; running jobs continue, and the next worker takes them over."
)
@click.option("--wait", is_flag=True, help="Return once they have stopped.")
@click.option("--timeout", metavar="TIME", help="Longest time to wait, with --wait: 90, 5m; then exit with 5.")
@json_option
def stop(ids: tuple[str, ...], now: bool, detach: bool, wait: bool, timeout: str | None, as_json: bool) -> None:
    """Stop workers on this host: those named, or all.

    Running jobs finish first. The names of the signalled workers are printed. To upgrade without
    interrupting a job: --detach, then start a worker of the new version.

    \b
    Example:
      queuectl worker stop
      queuectl worker stop --now
      queuectl worker stop --wait --timeout 10m
      queuectl worker stop --detach --wait && queuectl worker start
    """
    from queuectl.core.when import parse_duration

    if now and detach:
        raise UsageError("both --now and --detach", hint="use one of them")
    if timeout is not None and not wait:
        raise UsageError("--timeout is for --wait", hint="give both of them")
    longest = None if timeout is None else parse_duration(timeout)
    deadline = None if longest is None else time.monotonic() + longest
    spool = open_spool()
    layout, found = spool.layout, _select(spool, ids)
    if wait and not (now or detach):
        _refuse_to_wait_for_own(layout, found)
    if not found and not as_json:
        note("no worker runs on this host")
    number, how = signal.SIGTERM, "stops once its jobs have finished"
    if now:
        number, how = signal.SIGQUIT, "ends its jobs and stops"
    elif detach:
        number, how = signal.SIGUSR1, "stops at once; its jobs keep running"
    # A second SIGTERM would end the jobs, which only --now asks for.
    is_polite = number == signal.SIGTERM
    stopping = {worker["worker"] for worker in spool.workers() if is_polite and worker["state"] == "stopping"}
    signalled = [name for name, pid in found.items() if name in stopping or _signal(layout, name, pid, number)]
    for name in () if as_json else signalled:
        say(name)
        note(f"{name} {'is already stopping; use --now to kill its jobs' if name in stopping else how}")
    try:
        if wait:
            _wait(layout, found, deadline, longest)
    finally:
        if as_json:
            print_json([{"worker": name, "stopped": not lease.is_worker_alive(layout, name)} for name in signalled])


def _refuse_to_wait_for_own(layout: Layout, found: dict[str, int]) -> None:
    """Raises UsageError for a worker that stops once a job has ended of which this command is a part."""
    own = itself(layout)
    name = next((name for name in own.find(layout) if name.worker in found), None)
    if name is not None:
        why = f"it runs job {name.id}, which this command is a part of"
        raise UsageError(f"worker {name.worker} would wait for this command to end", why, "leave out --wait")


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """A handle that stays with a process even if its pid is reused; None if it is gone, or the system has no pidfds."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _signal(layout: Layout, name: str, pid: int, number: signal.Signals) -> bool:
    """Send a worker a signal; False if it has stopped already.

    Its lock is checked after opening a handle to its process, so no other process can get the signal.
    """
    with _pidfd(pid) as process:
        if not lease.is_worker_alive(layout, name):
            return False
        try:
            if process is None:
                os.kill(pid, number)
            else:
                signal.pidfd_send_signal(process, number)
        except ProcessLookupError:
            return False
    return True


def _wait(layout: Layout, found: dict[str, int], deadline: float | None, longest: float | None) -> None:
    """Return when all have stopped; raises WaitTimeoutError."""
    for name, pid in found.items():
        has_ended = False
        with _pidfd(pid) as process:
            while lease.is_worker_alive(layout, name):
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    hint = "it stops when its jobs have ended; see: --now, --detach"
                    raise WaitTimeoutError(f"{name} is still running", f"waited {longest:g} s", hint)
                if process is None or has_ended:  # its lock is released with it, in a moment
                    time.sleep(_LOOK if left is None else min(_LOOK, left))
                else:
                    has_ended = bool(select.select([process], [], [], left)[0])


def _select(spool: Spool, ids: tuple[str, ...]) -> dict[str, int]:
    """Names and pids of the workers to stop. Only those that hold their lock on this host are signalled."""
    import socket

    host, namespace = socket.gethostname(), processes.pid_namespace()
    alive = {
        worker["worker"]: worker["pid"]
        for worker in spool.workers()
        if worker["alive"]
        and (lease.has_life(spool.layout, worker["worker"]) if spool.shared else worker.get("host") == host)
        and worker.get("pid_namespace", namespace) == namespace
        and isinstance(worker.get("pid"), int)
    }
    if not ids:
        return alive
    ids = tuple(read_ids(ids))
    found: dict[str, int] = {}
    for id in ids:
        names = [name for name in alive if name == id] or [name for name in alive if name.startswith(id)]
        if not names:
            raise NotFoundError(f"no worker {id!r} runs on this host", hint="see: queuectl worker list")
        if len(names) > 1:
            raise AmbiguousIdError(f"{id!r} matches {len(names)} workers", ", ".join(names[:4]))
        found[names[0]] = alive[names[0]]
    return found
