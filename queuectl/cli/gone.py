"""`queuectl worker gone`"""

from __future__ import annotations

import time

import click

from queuectl.cli.context import confirm, json_option, note, open_spool, print_json, say, spool_to_complete
from queuectl.core.text import format_count
from queuectl.errors import AmbiguousIdError, NotFoundError, UsageError, WrongStateError
from queuectl.spool.reading.hosts import GONE, HostState, list_hosts
from queuectl.spool.store import Spool
from queuectl.spool.system import beats, host, identity
from queuectl.spool.system.layout import Layout

_WATCHED = 2.5 * beats.BEAT
_LOOK = 0.5
_NAMED = 5
_TRIES = 10


def _complete_host(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    spool = spool_to_complete(ctx)
    hosts = list_hosts(spool.layout) if spool else []
    return [each.host for each in hosts if each.contact != GONE and each.host.startswith(incomplete)]


@click.command("gone")
@click.argument("name", metavar="HOST", shell_complete=_complete_host)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--force", is_flag=True, help="Even if it is alive: its workers end their jobs and themselves.")
@json_option
def gone(name: str, yes: bool, force: bool, as_json: bool) -> None:
    """Say that a host of a shared spool is gone for good.

    Other hosts take its jobs then: each is settled as its log says, else as lost, and retried if it has
    retries left. HOST is its name as in `queuectl worker list`, or the beginning of that. First it is
    watched for 25 seconds: if it still shows that it lives, nothing is done. Make sure that the machine is
    off, or cut off from the file system: what still runs there ends only when it finds out. Workers that
    are started there later are another host.

    \b
    Example:
      queuectl worker gone web2
      queuectl worker gone web2.k7f3q2 --yes
    """
    spool = open_spool()
    layout = spool.layout
    if not spool.shared:
        raise UsageError(
            f"{layout.root} is not shared by hosts",
            "its workers are judged by their locks",
            "see: queuectl worker list",
        )
    found = _find(layout, name)
    if found.contact == GONE:
        if not as_json:
            note(f"{found.host} is gone already")
    else:
        _describe(found)
        if not yes and not confirm(f"say that {found.host} is gone?"):
            raise click.exceptions.Exit(1)
        _say_gone(layout, found, is_forced=force)
    if as_json:
        print_json({"host": found.host, "gone": True, "runs": list(found.runs)})
    else:
        say(found.host)
        note(f"{found.host} is gone; {_jobs(spool, found)}")


def _find(layout: Layout, text: str) -> HostState:
    hosts = list_hosts(layout)
    own = host.here(layout).name
    found = [each for each in hosts if each.host == text] or [
        each for each in hosts if text in (each.name, each.host.rpartition(".")[0])
    ]
    found = [each for each in found if each.contact != GONE] or found or [e for e in hosts if e.host.startswith(text)]
    if not found:
        mark = beats.find(layout, text)
        if mark is not None:
            return HostState(text, text, GONE if mark.is_gone else "left", 0.0, None, mark, (), ())
        raise NotFoundError(f"no host {text!r} works on this spool", hint="see: queuectl worker list")
    if len(found) > 1:
        raise AmbiguousIdError(f"{text!r} matches {len(found)} hosts", ", ".join(each.host for each in found[:_NAMED]))
    if found[0].host == own:
        raise UsageError(f"{own} is this host", "its workers are judged by their locks", "try: queuectl worker stop")
    return found[0]


def _describe(found: HostState) -> None:
    if found.runs:
        more = f" and {len(found.runs) - _NAMED} more" if len(found.runs) > _NAMED else ""
        what = f"{format_count(len(found.runs), 'job')} may still run there: {', '.join(found.runs[:_NAMED])}{more}"
        note(f"{what}; the processes have QUEUECTL_TOKEN={found.host}.… in their environment")


def _say_gone(layout: Layout, found: HostState, *, is_forced: bool) -> None:
    """Raises WrongStateError if its beat moves."""
    if not is_forced:
        note(f"watching {found.host} for {_WATCHED:g} s")
    by = f"{host.here(layout).name}.{identity.random_text(4)}"
    mark = beats.find(layout, found.host)
    deadline = time.monotonic() + (0.0 if is_forced else _WATCHED)
    while time.monotonic() < deadline:
        time.sleep(_LOOK)
        if (now := beats.find(layout, found.host)) != mark:
            mark = now
            break
    else:
        for _ in range(_TRIES if is_forced else 1):
            if mark is not None and mark.is_gone:
                return
            if beats.say_gone(layout, mark, by) if mark is not None else beats.say_unknown_gone(layout, found.host, by):
                return
            mark = beats.find(layout, found.host)
    if mark is not None and mark.is_gone:
        return
    raise WrongStateError(
        f"{found.host} is alive: it has just renewed its beat",
        "nothing was done",
        "stop its workers there (queuectl worker stop), or end its jobs from here: --force",
    )


def _jobs(spool: Spool, found: HostState) -> str:
    if not found.runs:
        return "no job of it was running"
    if any(worker["alive"] and worker["contact"] in ("here", "alive") for worker in spool.workers()):
        return f"workers of other hosts take its {format_count(len(found.runs), 'job')}"
    return f"the next worker takes its {format_count(len(found.runs), 'job')}"
