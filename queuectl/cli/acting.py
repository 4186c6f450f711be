"""What all commands that act on jobs share: which jobs are meant, the question before, the report after."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from queuectl.cli.context import complete_jobs, json_option, note, print_json, show_error
from queuectl.cli.filters import filter_options, is_given, make_filter
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import QueuectlError, UsageError
from queuectl.spool import query
from queuectl.spool.select import select
from queuectl.spool.store import Spool

F = TypeVar("F", bound=Callable[..., Any])
Action = Callable[[str], Job]


@dataclass(frozen=True, slots=True)
class Verb:
    """A command's word, what its jobs are afterwards, and those that it is for.

    `default` is the --state that filters take without one.
    """

    word: str
    done: str
    among: tuple[State, ...]
    default: str = "all"

    def options(self, metavar: str = "[ID... | -]") -> Callable[[F], F]:
        """Ids, filters, --all, --yes, --dry-run and --json as parameters, for `act`."""

        def add(command: F) -> F:
            command = json_option(command)
            command = click.option("--dry-run", is_flag=True, help="Print the ids, and do nothing.")(command)
            command = click.option("-y", "--yes", is_flag=True, help="Do not ask; for scripts.")(command)
            command = filter_options(command)
            of = " or ".join(self.among) if self.default == "all" else self.default
            command = click.option("--all", "every", is_flag=True, help=f"Every {of} job.")(command)
            return ids_argument(*self.among, metavar=metavar)(command)

        return add


def ids_argument(*states: str, metavar: str = "ID... | -") -> Callable[[F], F]:
    """The argument for ids; `-` stands for those on stdin. In brackets there may be none."""
    is_required = not metavar.startswith("[")
    return click.argument("ids", nargs=-1, required=is_required, metavar=metavar, shell_complete=complete_jobs(*states))


def read_ids(ids: Sequence[str]) -> list[str]:
    """The ids given; for `-` the first word of each line of stdin."""
    found: list[str] = []
    for id in ids:
        if id == "-":
            found += [line.split()[0] for line in sys.stdin if line.strip()]
        else:
            found.append(id)
    return found


def act(spool: Spool, verb: Verb, given: dict[str, Any], action: Action) -> None:
    """Act on the jobs that the command line means, one after the other, and report.

    Named jobs are acted upon at once; those that filters or --all select are counted first, and need a yes.
    """
    targets = find_targets(spool, verb, given)
    if given["dry_run"]:
        _rehearse(spool, verb, targets, given["as_json"])
    else:
        run(targets, action, verb.done, as_json=given["as_json"])


def find_targets(spool: Spool, verb: Verb, given: dict[str, Any]) -> list[str]:
    """The ids on the command line, or those of the jobs that are selected, once somebody has said yes to them."""
    is_selection = given["every"] or is_given(given)
    if given["ids"] and is_selection:
        raise UsageError("both ids and a selection", hint="name the jobs, or select them with options")
    if not given["ids"] and not is_selection:
        path = click.get_current_context().command_path
        raise UsageError("name the jobs, or select them", "with --all, --match, --state, …", f"see: {path} --help")
    if given["ids"]:
        return read_ids(given["ids"])
    jobs = list(select(spool.layout, make_filter(given, verb.among, verb.default)))
    _ask(verb, jobs, given)
    return [job.id for job in jobs]


def _ask(verb: Verb, jobs: list[Job], given: dict[str, Any]) -> None:
    """Say how many jobs are meant, and go on only if somebody wants that."""
    states = Counter(str(job.state) for job in jobs)
    parts = ", ".join(f"{number} {state}" for state, number in states.items())
    what = format_count(len(jobs), "job") + (f" ({parts})" if jobs else "")
    if not jobs or given["yes"] or given["dry_run"]:
        if not given["as_json"]:
            note(f"{what} selected" if jobs else "no such jobs")
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"this would {verb.word} {what}", hint="to do it, add --yes; to see them, --dry-run")
    if not click.confirm(f"{verb.word} {what}?", err=True):
        raise click.Abort


def _rehearse(spool: Spool, verb: Verb, targets: list[str], as_json: bool) -> None:
    run(targets, lambda id: query.find(spool.layout, id), f"would be {verb.done}", as_json=as_json, rehearsal=True)


def run(targets: Iterable[str], action: Action, done: str, *, as_json: bool = False, rehearsal: bool = False) -> None:
    """Act on each id and print the whole id; one that fails is reported and the rest still done.

    `done` says what the jobs are then. Exits with the first failure's code.
    """
    code = number = 0
    outcomes: list[dict[str, Any]] = []
    for id in targets:
        try:
            job = action(id)
        except QueuectlError as error:
            failed = error.exit_code if as_json else show_error(error)
            code = code or failed
            outcomes.append({"id": id, "ok": False, "error": str(error), "job": None})
            continue
        number += 1
        outcomes.append({"id": job.id, "ok": None if rehearsal else True, "error": None, "job": job.to_json()})
        if not as_json:
            click.echo(job.id)
    if as_json:
        print_json(outcomes)
    elif number:
        note(f"{format_count(number, 'job')} {done}")
    if code:
        click.get_current_context().exit(code)
