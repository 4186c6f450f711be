"""What commands that act on jobs share: selecting them, asking for confirmation, reporting."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from queuectl.cli.context import complete_jobs, confirm, json_option, note, print_json, say, show_error
from queuectl.cli.filters import filter_options, is_given, make_filter
from queuectl.core import groups
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import NotFoundError, QueuectlError, UsageError, WrongStateError
from queuectl.spool.reading import query
from queuectl.spool.reading.filters import Filter, select_names
from queuectl.spool.store import Spool
from queuectl.spool.system import edges, files

F = TypeVar("F", bound=Callable[..., Any])
Action = Callable[[str | Job], Job]
_NAMED = 5  # of the jobs that waited for one that is deleted
Target = str | tuple[State, str]
"""A job as the command line named it, or where its file was seen."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A command's word, what its jobs are afterwards, and the states it applies to, in the order it takes them.

    `default` is the --state of filters that name none. With `brings_back` an action on one job may bring back others
    that were skipped because of it, which then need no action of their own.
    """

    word: str
    done: str
    among: tuple[State, ...]
    default: str = "all"
    brings_back: bool = False

    def options(self, metavar: str = "[ID... | -]") -> Callable[[F], F]:
        """Ids, filters, --all, --yes, --dry-run and --json as parameters, for `act`."""

        def add(command: F) -> F:
            command = json_option(command)
            command = click.option("--dry-run", is_flag=True, help="Only print the ids.")(command)
            command = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")(command)
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


def take_groups(spool: Spool, given: dict[str, Any]) -> None:
    """Make filters of the groups among the ids: `lr.` in the place of an id is --group lr.

    Raises UsageError for both groups and ids, NotFoundError for a group without jobs.
    """
    names = [id[:-1] for id in given["ids"] if id.endswith(".") and groups.is_name(id[:-1])]
    names = [name for name in names if query.locate(spool.layout, f"{name}.") is None]  # an id of an older version
    if not names:
        return
    if len(names) < len(given["ids"]):
        raise UsageError("both ids and a group", hint="name the jobs, or the group alone")
    for name in names:
        if not query.match_ids(spool.layout, f"{name}."):
            raise NotFoundError(f"no job is in the group {name}", hint="see: queuectl group list --all")
    given["ids"], given["groups"] = (), (*given["groups"], *names)


def act(
    spool: Spool,
    verb: Verb,
    given: dict[str, Any],
    action: Action,
    *,
    is_backwards: bool = False,
    prepare: Callable[[list[Target]], tuple[list[Target], Action]] | None = None,
) -> None:
    """Act on the jobs of the command line, one after the other (the last one first, if `is_backwards`), and report.

    Named jobs are acted upon at once; those selected by filters or --all are counted first, and need a confirmation.
    If there are several, `prepare` may choose among them, and what to do instead of `action`.
    """
    take_groups(spool, given)
    found, wanted = _find_targets(spool, verb, given)
    if is_backwards:
        found.reverse()
    targets = _in_order(locate(spool, found), verb.among)
    if given["dry_run"]:
        run(spool, targets, lambda id: _rehearse(spool, verb, id), f"would be {verb.done}", given["as_json"], True)
    else:
        if prepare is not None and len(targets) > 1:
            targets, action = prepare(targets)
        run(spool, targets, action, verb.done, given["as_json"], wanted=wanted, brings_back=verb.brings_back)


def _rehearse(spool: Spool, verb: Verb, id: str | Job) -> Job:
    """The job; raises WrongStateError if it is in none of the states that the verb is for."""
    job = query.find(spool.layout, id)
    if job.state not in verb.among:
        raise WrongStateError(f"job {job.id} is {job.state}", f"this applies only to {' or '.join(verb.among)} jobs")
    return job


def _find_targets(spool: Spool, verb: Verb, given: dict[str, Any]) -> tuple[list[Target], Filter | None]:
    """What the command line names; or what it selects, after a confirmation, and the filter."""
    if not is_selection(given):
        return [*read_ids(given["ids"])], None
    wanted = make_filter(given, verb.among, verb.default)
    selected = list(select_names(spool.layout, wanted))
    _ask(verb, selected, given)
    return [*selected], wanted


def is_selection(given: dict[str, Any]) -> bool:
    """Whether filters or --all (`every`) select the jobs, and not ids; raises UsageError for both, or neither.

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
    """Report how many jobs are selected, and continue only if the user confirms."""
    states = Counter(str(state) for state, _ in selected)
    parts = ", ".join(f"{number} {state}" for state, number in states.items())
    what = f"{format_count(len(selected), 'job')} ({parts})"
    if not selected or given["yes"] or given["dry_run"]:
        if not given["as_json"]:
            note(f"{what} selected" if selected else "no matching jobs")
        return
    require_yes(f"{verb.word} {what}")


def require_yes(what: str) -> None:
    """Ask on a terminal whether to do that to many jobs; without one, refuse. Raises click.Abort or UsageError."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"this would {what}", hint="to do it, add --yes; to see them, --dry-run")
    if not confirm(f"{what}?"):
        note("nothing done")
        click.get_current_context().exit(1)


def _in_order(targets: list[Target], among: tuple[State, ...]) -> list[Target]:
    """Waiting jobs before running ones where a verb is for both: one that ends makes room for another to start. Skipped
    ones last: they come back with what they were skipped because of."""
    if State.RUNNING not in among:
        return sorted(targets, key=_is_skipped)
    return sorted(targets, key=_is_running)


def _is_skipped(target: Target) -> bool:
    return not isinstance(target, str) and "-skipped-" in target[1]


def run(
    spool: Spool,
    targets: Sequence[Target],
    action: Action,
    done: str,
    as_json: bool = False,
    rehearsal: bool = False,
    wanted: Filter | None = None,
    brings_back: bool = False,
) -> None:
    """Act on each job and print the whole id; a failure is reported and the others are still acted upon.

    `done` says what the jobs are then. Exits with the code of the first failure. A job that the filter `wanted`
    selected, but would no longer select, is not a failure.
    """
    code = number = left = 0
    outcomes: list[dict[str, Any]] = []
    for target, job in _act_on_all(spool, locate(spool, targets), action, brings_back=brings_back):
        if isinstance(job, QueuectlError):
            outcomes.append({"id": _id_of(target), "ok": False, "error": str(job), "job": None})
            if wanted and _has_left(spool, target, wanted, job):
                left += 1
                continue
            failed = job.exit_code if as_json else show_error(job)
            code = code or failed
            continue
        number += 1
        if as_json:
            outcomes.append({"id": job.id, "ok": None if rehearsal else True, "error": None, "job": job.to_json()})
        else:
            say(job.id)
    if as_json:
        print_json(outcomes)
    else:
        if left:
            note(f"{format_count(left, 'job')} had already changed state")
        if number:
            note(f"{format_count(number, 'job')} {done}")
    if code:
        click.get_current_context().exit(code)


def _act_on_all(
    spool: Spool, targets: Sequence[Target], action: Action, *, brings_back: bool = False
) -> Iterator[tuple[Target, Job | QueuectlError]]:
    """The outcome of each, in order. Running jobs at the end are acted upon together: each may take a while."""

    def attempt(target: Target) -> Job | QueuectlError:
        try:
            return (_brought_back(spool, target) if brings_back else None) or _act_on(spool, target, action)
        except QueuectlError as error:
            return error

    alone = len(targets)
    while alone and _is_running(targets[alone - 1]):
        alone -= 1
    if len(targets) - alone < 2:
        alone = len(targets)
    yield from ((target, attempt(target)) for target in targets[:alone])
    if alone < len(targets):
        from queuectl.spool.moves.by_hand import together

        yield from together(targets[alone:], lambda target: _act_on(spool, target, action))


def _brought_back(spool: Spool, target: Target) -> Job | None:
    """The job, if it was skipped when the command looked, and waits again."""
    if isinstance(target, str) or not _is_skipped(target) or not files.is_gone(spool.layout.job(*target)):
        return None
    from queuectl.spool.moves import dependents

    place = dependents.whereabouts(spool.layout).look(_id_of(target))  # a listing for each would take too long
    return (
        query.load(spool.layout, place[0], str(place[1])) if place is not None and place[0] is State.PENDING else None
    )


def _is_running(target: Target) -> bool:
    return not isinstance(target, str) and target[0] is State.RUNNING


def locate(spool: Spool, targets: Sequence[Target]) -> list[Target]:
    """Where jobs are. Several whole ids are looked up together, by one listing; any others may be prefixes."""
    ids = {target for target in targets if isinstance(target, str)}
    found = query.locate_all(spool.layout, ids, patience=1) if len(ids) > 1 else {}
    return [found.get(target, target) if isinstance(target, str) else target for target in targets]


def load(spool: Spool, target: Target) -> Job:
    """The job, where it was seen or wherever it is now; raises NotFoundError or AmbiguousIdError."""
    job = None if isinstance(target, str) else query.load(spool.layout, *target)
    return job or query.find(spool.layout, _id_of(target))


def _act_on(spool: Spool, target: Target, action: Action) -> Job:
    """Act on a job where it was seen, without another search; if it has changed state, wherever it is now."""
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


def _has_left(spool: Spool, target: Target, wanted: Filter, error: QueuectlError) -> bool:
    """Whether a job could not be acted upon because the filter no longer selects it.

    RACE: between the look that selected it and the action a worker may start or settle it (tests/cli/test_verbs.py).
    """
    if not isinstance(error, WrongStateError | NotFoundError):
        return False
    found = query.locate(spool.layout, _id_of(target))
    name = query.parse_name(*found) if found else None
    return found is None or name is None or found[0] not in wanted.states or not wanted.takes(name)


def _id_of(target: Target) -> str:
    if isinstance(target, str):
        return target
    name = query.parse_name(*target)
    return name.id if name else target[1]


def drop_job(spool: Spool, id: str | Job) -> Job:
    """Delete a finished job, and say who waited for it: they are skipped now, or start if they waited for any end."""
    job = query.find(spool.layout, id)
    waiting = sorted(edges.waiting_for(spool.layout, job.id))
    dropped = spool.drop(job)
    if waiting:
        some = ", ".join(waiting[:_NAMED]) + (", …" if len(waiting) > _NAMED else "")
        note(f"{format_count(len(waiting), 'job')} waited for {dropped.id}: {some}; see: queuectl explain {waiting[0]}")
    return dropped
