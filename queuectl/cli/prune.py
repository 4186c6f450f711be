"""`queuectl prune` and `rm`: deleting finished jobs."""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import json_option, note, one_group, one_group_option, open_spool, print_json
from queuectl.cli.filters import NAMES, make_filter
from queuectl.cli.targets import Verb, act, drop_job, require_yes
from queuectl.core.result import State
from queuectl.core.settings import Rule
from queuectl.core.text import format_count, format_size
from queuectl.errors import UsageError, WaitTimeoutError
from queuectl.spool.moves import prune as pruning
from queuectl.spool.moves.prune import Pruned
from queuectl.spool.system import lease
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

_PATIENCE = 60.0
_FINISHED = (State.DONE, State.DEAD)
_RM = Verb("delete", "deleted", _FINISHED)


@click.command()
@click.option("--older-than", metavar="TIME", help="Delete jobs that ended longer ago than this: 12h, 7d.")
@click.option("--keep", type=click.IntRange(0), metavar="N", help="Keep the newest N, delete the rest.")
@click.option("--max-size", metavar="SIZE", help="Keep the newest that fit into this much space: 64M, 2G.")
@click.option("--state", metavar="STATE", help="done, dead (or failed), or all for both. [default: done]")
@one_group_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@json_option
def prune(
    older_than: str | None,
    keep: int | None,
    max_size: str | None,
    state: str | None,
    group: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete finished jobs along with their logs, the oldest first.

    A job is deleted if it exceeds any of the limits given; each state counts separately. With --group,
    only jobs of that group are counted and deleted. Without a limit the settings keep-done,
    keep-done-count, keep-done-size and keep-dead apply, as they do in workers. Pending and running jobs
    are never touched. Asks before it deletes; without a terminal it needs --yes.

    \b
    Example:
      queuectl prune --older-than 7d --dry-run
      queuectl prune --keep 1000 --state all --yes
      queuectl prune --group lr --keep 0
    """
    group = one_group(group)
    layout = open_spool().layout
    rules = _rules(layout, older_than, keep, max_size, None if state is None else _states_of(state))
    found = {} if yes and not dry_run else _prune(layout, rules, group, dry_run=True)
    jobs = {state: pruned.jobs for state, pruned in found.items() if pruned.jobs}
    if jobs and not dry_run:
        parts = ", ".join(f"{number} {state}" for state, number in jobs.items())
        require_yes(f"delete {format_count(sum(jobs.values()), 'job')} ({parts})")
    if not dry_run:
        with lease.sole_pruner(layout, _PATIENCE) as is_alone:
            if not is_alone:
                raise WaitTimeoutError("another prune is running", f"waited {_PATIENCE:g} s", "try again later")
            found = _prune(layout, rules, group)
            pruning.clear_tmp(layout, now())
    _print(found, dry_run, as_json)


def _prune(layout: Layout, rules: dict[State, Rule], group: str, *, dry_run: bool = False) -> dict[State, Pruned]:
    return {state: pruning.prune(layout, state, rule, group=group, dry_run=dry_run) for state, rule in rules.items()}


def _states_of(word: str) -> tuple[State, ...]:
    """The finished states that a word of --state has; raises UsageError if it has none."""
    given: dict[str, Any] = {**dict.fromkeys(NAMES, ()), "state": [word]}
    return make_filter(given, _FINISHED).states


@click.command()
@_RM.options()
def rm(**given: Any) -> None:
    """Delete finished jobs and their logs for good.

    Jobs that wait or run are refused: `cancel` them first. Their ids are printed, and can be used again.

    \b
    Example:
      queuectl rm report
      queuectl rm --match '^test-' --until 7d
    """
    spool = open_spool()
    act(spool, _RM, given, lambda id: drop_job(spool, id))


def _rules(
    layout: Layout, older_than: str | None, keep: int | None, max_size: str | None, states: tuple[State, ...] | None
) -> dict[State, Rule]:
    """What to keep of which states, from the options or else from the settings."""
    from datetime import timedelta

    from queuectl.core.typed import parse_size, require_unit
    from queuectl.core.when import parse_duration
    from queuectl.spool.system import settings

    if (older_than, keep, max_size) == (None, None, None):
        kept = settings.load(layout).keep_rules(now())
        rules = {key: rule for key, rule in kept.items() if states is None or key in states}
        if not rules:
            raise UsageError(
                "no limit to prune by",
                "no option was given, and no setting for these jobs is set",
                "try: queuectl prune --older-than 30d --dry-run",
            )
        return rules
    if older_than is not None:
        require_unit(older_than, "queuectl prune --older-than {}")
    since = None if older_than is None else now() - timedelta(seconds=parse_duration(older_than))
    rule = Rule(since, keep, None if max_size is None else parse_size(max_size))
    return dict.fromkeys(states or (State.DONE,), rule)


def _print(found: dict[State, Pruned], dry_run: bool, as_json: bool) -> None:
    if as_json:
        states = {str(state): {"jobs": pruned.jobs, "bytes": pruned.size} for state, pruned in found.items()}
        total = {"jobs": sum(one.jobs for one in found.values()), "bytes": sum(one.size for one in found.values())}
        print_json({"dry_run": dry_run, **total, "states": states})
        return
    for state, pruned in found.items():
        click.echo(f"{state:<5} {format_count(pruned.jobs, 'job')}, {format_size(pruned.size)}")
    if dry_run:
        note("nothing was deleted: this was a dry run")
