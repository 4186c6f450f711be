"""What all commands that act on jobs share: which jobs are meant, the question before, the report after."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from queuectl.cli.context import complete_jobs, json_option, note, print_json, show_error
from queuectl.cli.filters import filter_options, is_given, make_filter
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import QueuectlError, UsageError, WrongStateError
from queuectl.spool import files, query
from queuectl.spool.select import select_names
from queuectl.spool.store import Spool

F = TypeVar("F", bound=Callable[..., Any])
Action = Callable[[str | Job], Job]
Target = str | tuple[State, str]
"""A job as the command line named it, or where its file was seen."""


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
    """The ids given, each once; for `-` the first word of each line of stdin."""
    found: list[str] = []
    for id in ids:
        if id == "-":
            found += [line.split()[0] for line in sys.stdin if line.strip()]
        else:
            found.append(id)
    return list(dict.fromkeys(found))


def act(spool: Spool, verb: Verb, given: dict[str, Any], action: Action, *, is_backwards: bool = False) -> None:
    """Act on the jobs that the command line means, one after the other (the last one first, if `is_backwards`), and
    report.

    Named jobs are acted upon at once; those that filters or --all select are counted first, and need a yes.
    """
    targets = _find_targets(spool, verb, given)
    if is_backwards:
        targets.reverse()
    if given["dry_run"]:
        run(spool, targets, lambda id: query.find(spool.layout, id), f"would be {verb.done}", given["as_json"], True)
    else:
        run(spool, targets, action, verb.done, given["as_json"])


def _find_targets(spool: Spool, verb: Verb, given: dict[str, Any]) -> list[Target]:
    """What the command line names, or what it selects, once somebody has said yes to that."""
    if not is_selection(given):
        return [*read_ids(given["ids"])]
    selected = list(select_names(spool.layout, make_filter(given, verb.among, verb.default)))
    _ask(verb, selected, given)
    return [*selected]


def is_selection(given: dict[str, Any]) -> bool:
    """Whether filters or --all (`every`) say which jobs are meant, and not ids; raises UsageError for both, or neither.

    `given` may come without `every`, from a command that has no --all.
    """
    is_selected = given.get("every") or is_given(given)
    if given["ids"] and is_selected:
        raise UsageError("both ids and a selection", hint="name the jobs, or select them with options")
    if not given["ids"] and not is_selected:
        path = click.get_current_context().command_path
        options = "with --all, --match, --state, …" if "every" in given else "with --match, --state, …"
        raise UsageError("name the jobs, or select them", options, f"see: {path} --help")
    return bool(is_selected)


def _ask(verb: Verb, selected: list[tuple[State, str]], given: dict[str, Any]) -> None:
    """Say how many jobs are meant, and go on only if somebody wants that."""
    states = Counter(str(state) for state, _ in selected)
    parts = ", ".join(f"{number} {state}" for state, number in states.items())
    what = f"{format_count(len(selected), 'job')} ({parts})"
    if not selected or given["yes"] or given["dry_run"]:
        if not given["as_json"]:
            note(f"{what} selected" if selected else "no such jobs")
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"this would {verb.word} {what}", hint="to do it, add --yes; to see them, --dry-run")
    if not click.confirm(f"{verb.word} {what}?", err=True):
        raise click.Abort


def run(
    spool: Spool, targets: Sequence[Target], action: Action, done: str, as_json: bool = False, rehearsal: bool = False
) -> None:
    """Act on each job and print the whole id; one that fails is reported and the rest still done.

    `done` says what the jobs are then. Exits with the first failure's code.
    """
    code = number = 0
    outcomes: list[dict[str, Any]] = []
    for target in _located(spool, targets):
        try:
            job = _act_on(spool, target, action)
        except QueuectlError as error:
            failed = error.exit_code if as_json else show_error(error)
            code = code or failed
            outcomes.append({"id": _id_of(target), "ok": False, "error": str(error), "job": None})
            continue
        number += 1
        if as_json:
            outcomes.append({"id": job.id, "ok": None if rehearsal else True, "error": None, "job": job.to_json()})
        else:
            click.echo(job.id)
    if as_json:
        print_json(outcomes)
    elif number:
        note(f"{format_count(number, 'job')} {done}")
    if code:
        click.get_current_context().exit(code)


def _located(spool: Spool, targets: Sequence[Target]) -> list[Target]:
    """Many whole ids are looked up together, by one listing; what is not found so may be a prefix."""
    ids = {target for target in targets if isinstance(target, str)}
    found = query.locate_all(spool.layout, ids, patience=1) if len(ids) > 1 else {}
    return [found.get(target, target) if isinstance(target, str) else target for target in targets]


def _act_on(spool: Spool, target: Target, action: Action) -> Job:
    """Act on a job where it was seen, without another search; if it has moved on, wherever it is now."""
    if isinstance(target, str):
        return action(target)
    job = query.load(spool.layout, *target)
    if job is None:
        return action(_id_of(target))
    try:
        return action(job)
    except WrongStateError:
        if not files.is_gone(job.path):
            raise
        return action(job.id)


def _id_of(target: Target) -> str:
    if isinstance(target, str):
        return target
    name = query.parse_name(*target)
    return name.id if name else target[1]
