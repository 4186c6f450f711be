"""`queuectl worker`: start and list; stop is in a module of its own."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli.context import (
    complete_groups,
    json_option,
    note,
    open_spool,
    print_json,
    print_table,
    say,
    show_error,
)
from queuectl.cli.groups import LazyGroup
from queuectl.core.groups import Choice
from queuectl.core.text import format_age, format_count
from queuectl.errors import QueuectlError, UsageError
from queuectl.spool.store import Spool
from queuectl.spool.system import clock

if TYPE_CHECKING:
    from queuectl.work.notify import Ending

_COMMANDS = {
    "start": "queuectl.cli.worker:start",
    "list": "queuectl.cli.worker:list_",
    "stop": "queuectl.cli.stop:stop",
    "gone": "queuectl.cli.gone:gone",
}


@click.group(cls=LazyGroup, places=_COMMANDS)
def worker() -> None:
    """Start, list and stop workers.

    \b
    Example:
      queuectl worker start --count 4
      queuectl worker stop
    """


@click.command("start")
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Jobs to run at a time, on slurm in each Slurm job. [default: 1; on Dask as many as fit]",
)
@click.option(
    "--on", metavar="WHERE", help="Run jobs on a Dask cluster: tcp://HOST:PORT, or a scheduler file; or on slurm."
)
@click.option(
    "--max", "most", type=click.IntRange(1, 1000), metavar="N", help="On slurm: Slurm jobs at a time. [default: 10]"
)
@click.option("--time", "time_limit", metavar="TIME", help="On slurm: their time limit, 4h. [default: Slurm's]")
@click.option("--keep", metavar="TIME", help="On slurm: stop one that has been idle for so long. [default: 1m]")
@click.option("--address", metavar="HOST", help="On slurm: where they reach this host. [default: its first address]")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="On slurm: likewise. [default: any]")
@click.option("--name", metavar="NAME", help="On slurm: the name of its Slurm jobs. [default: by spool and groups]")
@click.option(
    "-g",
    "--group",
    "only",
    multiple=True,
    metavar="GROUP",
    shell_complete=complete_groups,
    help="Take only jobs of this group; may be repeated.",
)
@click.option(
    "--not-group", "others", multiple=True, metavar="GROUP", shell_complete=complete_groups,
    help="Take no jobs of this group; may be repeated.",
)  # fmt: skip
@click.option(
    "--seats", "own_seats", multiple=True, metavar="GROUP=NAMES",
    help="Its own seats of a group, whatever the group says: gpu=0,1; may be repeated.",
)  # fmt: skip
@click.option("--drain", is_flag=True, help="Exit once nothing is left that can start by itself.")
@click.option("--idle-exit", metavar="TIME", help="Exit with 0 after this long without a job: 90, 5m.")
@click.option(
    "--processes",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Start N such workers, and replace each one that dies.",
)
@click.option("--background", is_flag=True, help="Return once they run; they report to the spool's worker.log.")
@click.option("--copied", is_flag=True, help="Run the jobs of a spool that was copied or moved here; needed once.")
@click.option(
    "--poll", metavar="SECONDS|auto", help="Look for jobs of other hosts this often. [default: auto, where needed]"
)
@click.option("--trust-anyone", is_flag=True, help="Run even if other users can write to the spool.")
@click.option("-q", "--quiet", is_flag=True, help="Report only problems.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON lines, for a journal.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- SBATCH-OPTIONS]")
def start(
    count: int | None,
    on: str | None,
    most: int | None,
    time_limit: str | None,
    keep: str | None,
    address: str | None,
    port: int | None,
    name: str | None,
    only: tuple[str, ...],
    others: tuple[str, ...],
    own_seats: tuple[str, ...],
    drain: bool,
    idle_exit: str | None,
    processes: int | None,
    background: bool,
    copied: bool,
    poll: str | None,
    trust_anyone: bool,
    quiet: bool,
    as_json: bool,
    options: tuple[str, ...],
) -> None:
    """Run jobs until stopped, in the foreground or the background.

    The first Ctrl-C or SIGTERM lets running jobs finish; a second one ends and requeues them. Killing
    a worker does not stop its jobs: the next worker takes them over. Prints a line on stderr for each event.

    --drain waits for jobs of a later time too, but not for held ones, behind a pause without an end, or of groups that
    the worker does not take. If such jobs are left it names them and exits with 1, else with 0.

    --on slurm keeps as many Slurm jobs as the ready jobs could use, --max at most and none when there are none; each
    runs --count jobs at a time.

    \b
    Example:
      queuectl worker start --count 4
      queuectl worker start --drain
      queuectl worker start --processes 4 --count 2
      queuectl worker start --group gpu --seats gpu=0,1
      queuectl worker start --background
      queuectl worker start --on tcp://scheduler:8786
      queuectl worker start --on slurm --max 20 --count 8 --time 4h -- -p cpu
    """
    from queuectl.core import groups, seats
    from queuectl.core.when import parse_duration
    from queuectl.spool.system import place
    from queuectl.work.notify import Ending, Notifier
    from queuectl.work.report import Report

    idle_after = None if idle_exit is None else parse_duration(idle_exit)
    choice = groups.choose(only, others)
    terms: dict[str, Any] = {
        "slots": count or 1,
        "choice": choice,
        "seats": seats.parse_own(own_seats),
        "drain": drain,
        "idle_exit": idle_after,
        "trusts_anyone": trust_anyone,
        "poll_every": _parse_poll(poll),
    }
    of_batch = (most, time_limit, keep, address, port, name, options or None)
    if on is not None:
        from queuectl.work.engines.connect import parse_place

        batch = _parse_batch(of_batch, processes) if on == "slurm" else None
        terms["on"] = parse_place(on), count, batch
    if on != "slurm" and any(value is not None for value in of_batch):
        if options:
            raise click.UsageError(f"Got unexpected extra argument ({' '.join(options)})")
        raise UsageError(
            "--max, --time, --keep, --address, --port and --name are for Slurm jobs", hint="add --on slurm"
        )
    spool = open_spool(create=True)
    place.settle_in(spool.layout, is_copied=copied, prepare=lambda: _put_in_order(spool))
    notifier = Notifier.from_environment()
    style = "json" if as_json else "quiet" if quiet else "text"
    report = Report(style, is_labelled=background or processes is not None, is_dated=background)
    if not background:
        code = _work(spool, report, processes, notifier, terms)
        if code == Ending.DETACHED and not notifier.is_service:
            code = 0
        click.get_current_context().exit(1 if code == Ending.LEFT else code)
    from queuectl.work import background as daemon

    def work(announcer: daemon.Announcer) -> int:
        _work(spool, report, processes, Notifier(), {**terms, "announcer": announcer})
        return os.EX_OK

    for started in daemon.start(spool.layout, work, processes or 1):
        say(started)
    if not quiet:
        note(f"in the background; the report is in {spool.layout.worker_log}; to stop: queuectl worker stop")


def _parse_poll(text: str | None) -> float | None:
    """Seconds between two looks; None for `auto`."""
    from queuectl.core.when import parse_duration

    if text is None or text == "auto":
        return None
    seconds = parse_duration(text)
    if not 0.05 <= seconds <= 3600:
        raise UsageError(f"--poll is 0.05 to 3600 seconds, or auto, not {text!r}")
    return seconds


def _parse_batch(given: tuple[Any, ...], processes: int | None) -> Any:
    """What was given for Slurm jobs."""
    from queuectl.core.when import parse_duration
    from queuectl.work.engines.connect import BatchTerms, require_name

    most, time_limit, keep, address, port, name, options = given
    if processes is not None:
        raise UsageError("both --processes and --on slurm", hint="to have several, give each a --name")
    return BatchTerms(
        most or 10,
        None if time_limit is None else parse_duration(time_limit),
        60.0 if keep is None else parse_duration(keep),
        address or "",
        port or 0,
        "" if name is None else require_name(name),
        options or (),
    )


def _put_in_order(spool: Spool) -> None:
    from queuectl.spool.upkeep import copied

    number = copied.put_in_order(spool.layout)
    if number:
        note(f"{format_count(number, 'job')} moved while the spool was copied, and had two files: one is left of each")


def _work(spool: Spool, report: Any, processes: int | None, notifier: Any, terms: dict[str, Any]) -> int:
    """Work in this process, or in several below it; the exit code, which may be an `Ending`."""
    is_init = os.getpid() == 1 and processes is None
    if processes is None and not is_init:
        return _work_here(spool, report, notifier=notifier, **terms)
    from queuectl.spool.system import settings
    from queuectl.work.supervise import Supervisor

    settings.load(spool.layout)  # so that a mistake in it is reported before anything is started

    def work(leash: int) -> int:
        return _work_on_leash(spool, report, leash, terms)

    return Supervisor(processes or 1, work, report, notifier, is_init=is_init).run()


def _work_here(
    spool: Spool, report: Any, *, notifier: Any = None, announcer: Any = None, on: Any = None, **terms: Any
) -> Ending:
    from queuectl.spool.system import settings
    from queuectl.work.context import Context
    from queuectl.work.worker import Worker

    if on is not None:
        from queuectl.work.engines.connect import connect

        where, count, batch = on
        terms["engine"] = connect(where, count, batch, terms["choice"], spool.layout.root)
    context = Context(spool, report, settings.load(spool.layout))
    running = Worker(context, notifier=announcer or notifier, **terms)
    running.install_signal_handlers()
    return running.run()


def _work_on_leash(spool: Spool, report: Any, leash: int, terms: dict[str, Any]) -> int:
    """Run one worker of several; its exit code."""
    try:
        return _work_here(spool, report, leash=leash, **terms)
    except QueuectlError as error:
        if "announcer" in terms:
            terms["announcer"].failed(error)
        return show_error(error)


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the workers of this spool and what they run.

    STATE is working, idle, paused (idle because the queue is paused), stopping (its jobs may finish),
    gone: it died and left jobs, which the next worker on its host takes over; or lost: its host, one of
    several that share the spool, has shown no sign of life for a minute. HOST is shown if any run on
    another host, ON if any runs jobs on an engine, GROUPS if any takes only jobs of some groups. SINCE
    is when a worker started. The Slurm jobs of a worker on slurm follow: queued, starting, running or
    stopping.

    \b
    Example:
      queuectl worker list
      queuectl worker list --json | jq -r '.[] | select(.alive) | .worker'
    """
    from queuectl.spool.reading import shapes

    spool = open_spool()
    workers = list(spool.workers())
    if as_json:
        print_json([shapes.worker(worker) for worker in workers])
    elif workers:
        import socket

        hosts = {worker.get("host") for worker in workers} - {None, socket.gethostname()}
        rows = [_row(worker, shapes.worker_started_at(worker), has_host=bool(hosts)) for worker in workers]
        print_table(("WORKER", "STATE", "SLOTS", "ON", "SINCE", "VERSION", "HOST", "GROUPS", "RUNS"), rows)
        for text in (text for each in spool.hosts() for text in each.problems):
            note(text)
        batch = [_batch_row(each, job) for each in workers if each["alive"] for job in each.get("batch_jobs", ())]
        if batch:
            say("")
            print_table(("SLURM JOB", "STATE", "SLOTS", "NODE", "ENDS", "WORKER"), batch)
    else:
        note("no workers; start one: queuectl worker start")


def _row(worker: dict[str, Any], started_at: datetime | None, *, has_host: bool) -> tuple[str, ...]:
    return (
        worker["worker"],
        worker["state"],
        f"{worker.get('slots', '?')}",
        f"{worker.get('on') or ''}",
        format_age(started_at, clock.now()) if started_at else "?",
        f"{worker.get('version', '?')}",
        f"{worker.get('host', '?')}" if has_host else "",
        f"{Choice.of_worker(worker)}",
        " ".join(worker["runs"]) or "-",
    )


def _batch_row(worker: dict[str, Any], job: dict[str, Any]) -> tuple[str, ...]:
    from queuectl.core.text import format_when

    ends_at, reason = job.get("ends_at"), job.get("reason")
    return (
        f"{job.get('id', '?')}",
        f"{job.get('state', '?')}{f' ({reason.lower()})' if reason else ''}",
        f"{job.get('slots', '?')}",
        f"{job.get('node') or '-'}",
        format_when(datetime.fromisoformat(ends_at), clock.now()) if ends_at else "-",
        worker["worker"],
    )
