"""`queuectl worker`"""

from __future__ import annotations

import os
import signal
from typing import Any

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, print_table, spool_to_complete
from queuectl.core.text import format_age
from queuectl.errors import AmbiguousIdError, NotFoundError
from queuectl.spool import clock, shapes
from queuectl.spool.store import Spool


@click.group()
def worker() -> None:
    """Start, list and stop workers.

    \b
    Example:
      queuectl worker start --count 4
      queuectl worker stop
    """


@worker.command("start")
@click.option(
    "--count", type=click.IntRange(1, 1000), default=1, metavar="N", help="Jobs to run at a time; 1 if not given."
)
@click.option("--drain", is_flag=True, help="Exit with 0 once nothing is pending or running.")
@click.option("--trust-anyone", is_flag=True, help="Work although other users can write to the spool.")
@click.option("-q", "--quiet", is_flag=True, help="Report only problems.")
@click.option("--json", "as_json", is_flag=True, help="Report in JSON lines, for a journal.")
def start(count: int, drain: bool, trust_anyone: bool, quiet: bool, as_json: bool) -> None:
    """Run jobs, in the foreground, until told to stop.

    The first Ctrl-C or SIGTERM lets running jobs finish; a second one ends them and puts them back.
    Killing a worker stops no job: the next worker takes them over. One line on stderr for each event.

    \b
    Example:
      queuectl worker start --count 4
      queuectl worker start --drain
    """
    from queuectl import config
    from queuectl.work.report import Report
    from queuectl.work.settle import Context
    from queuectl.work.worker import Worker

    spool = open_spool(create=True)
    report = Report("json" if as_json else "quiet" if quiet else "text")
    context = Context(spool, report, config.load(spool.layout))
    running = Worker(context, slots=count, drain=drain, trusts_anyone=trust_anyone)
    running.install_signal_handlers()
    running.run()


@worker.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the workers of this spool and what they run.

    \b
    Example:
      queuectl worker list
    """
    workers = list(open_spool().workers())
    if as_json:
        print_json([shapes.worker(worker) for worker in workers])
    elif workers:
        print_table(("WORKER", "STATE", "SLOTS", "SINCE", "RUNS"), [_row(worker) for worker in workers])
    else:
        note("no workers; start one: queuectl worker start")


def _row(worker: dict[str, Any]) -> tuple[str, ...]:
    started_at = shapes.worker_started_at(worker)
    return (
        worker["worker"],
        "alive" if worker["alive"] else "gone",
        f"{worker.get('slots', '?')}",
        format_age(started_at, clock.now()) if started_at else "?",
        " ".join(worker["runs"]) or "-",
    )


def _complete_worker(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    spool = spool_to_complete(ctx)
    workers = spool.workers() if spool else ()
    return [worker["worker"] for worker in workers if worker["alive"] and worker["worker"].startswith(incomplete)]


@worker.command("stop")
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=_complete_worker)
@click.option("--now", is_flag=True, help="End the running jobs too, and put them back.")
def stop(ids: tuple[str, ...], now: bool) -> None:
    """Tell workers on this host to stop.

    Those named, or all. Running jobs finish first. The names of the workers told are printed.

    \b
    Example:
      queuectl worker stop
      queuectl worker stop --now
    """
    found = _select(open_spool(), ids)
    if not found:
        note("no worker runs on this host")
    for name, pid in found.items():
        try:
            os.kill(pid, signal.SIGQUIT if now else signal.SIGTERM)
        except ProcessLookupError:
            continue
        click.echo(name)
        note(f"{name} {'ends its jobs and stops' if now else 'stops once its jobs have finished'}")


def _select(spool: Spool, ids: tuple[str, ...]) -> dict[str, int]:
    """Names and pids of the workers to stop. Only those that hold their lock on this host are signalled."""
    import socket

    host = socket.gethostname()
    alive = {
        worker["worker"]: worker["pid"]
        for worker in spool.workers()
        if worker["alive"] and worker.get("host") == host and isinstance(worker.get("pid"), int)
    }
    if not ids:
        return alive
    found: dict[str, int] = {}
    for id in ids:
        names = [name for name in alive if name == id] or [name for name in alive if name.startswith(id)]
        if not names:
            raise NotFoundError(f"no worker {id!r} runs on this host", hint="see: queuectl worker list")
        if len(names) > 1:
            raise AmbiguousIdError(f"{id!r} fits {len(names)} workers", ", ".join(names[:4]))
        found[names[0]] = alive[names[0]]
    return found
