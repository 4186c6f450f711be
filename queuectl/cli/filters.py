"""The options that select jobs: --state, --since, --until, --result, --group, --match, --where."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from queuectl.cli.context import complete_groups
from queuectl.core import groups
from queuectl.core.names import Name, PendingName
from queuectl.core.result import Result, State
from queuectl.core.typed import require_unit
from queuectl.core.values import Condition
from queuectl.core.when import parse_past
from queuectl.errors import UsageError
from queuectl.spool.reading.filters import RESULT_KINDS, Filter
from queuectl.spool.system.clock import now

F = TypeVar("F", bound=Callable[..., Any])
Where = Callable[[Name], bool]

_PENDING, _RUNNING, _DONE, _DEAD = (State.PENDING,), (State.RUNNING,), (State.DONE,), (State.DEAD,)
ALL = (State.RUNNING, State.PENDING, State.DEAD, State.DONE)


def _waits(test: Callable[[PendingName], bool]) -> Where:
    return lambda name: isinstance(name, PendingName) and test(name)


_later = _waits(lambda name: name.run_at > now() and not name.is_held and not name.is_waiting)

WORDS: dict[str, tuple[tuple[State, ...], Where | None]] = {
    "pending": (_PENDING, None),
    "ready": (_PENDING, _waits(lambda name: name.run_at <= now())),
    "scheduled": (_PENDING, _waits(lambda name: _later(name) and name.attempts == 0)),
    "retrying": (_PENDING, _waits(lambda name: _later(name) and name.attempts > 0)),
    "held": (_PENDING, _waits(lambda name: name.is_held)),
    "waiting": (_PENDING, _waits(lambda name: name.is_waiting)),
    "running": (_RUNNING, None),
    "done": (_DONE, None),
    "dead": (_DEAD, None),
    "failed": ((State.DEAD, State.PENDING), _waits(lambda name: name.attempts > 0)),
    "all": (ALL, None),
    # what other programs of this family call them
    "queued": (_PENDING, None),
    "processing": (_RUNNING, None),
    "active": (_RUNNING, None),
    "completed": (_DONE, None),
    "succeeded": (_DONE, None),
    "dlq": (_DEAD, None),
}
_OWN_WORDS = list(WORDS)[:11]

groups_option = click.option(
    "-g",
    "--group",
    "groups",
    multiple=True,
    metavar="GROUP",
    shell_complete=complete_groups,
    help="Only jobs of this group; repeatable.",
)

_OPTIONS = (
    click.option(
        "--state",
        multiple=True,
        metavar="STATE",
        shell_complete=lambda ctx, param, text: [word for word in WORDS if word.startswith(text)],
        help="pending, ready, scheduled, retrying, held, waiting, running, done, dead, failed, …; repeatable.",
    ),
    click.option("--since", metavar="TIME", help='Only jobs of this time or later: 1h (ago), "18:30", ISO 8601.'),
    click.option("--until", metavar="TIME", help="Only jobs of this time or earlier."),
    click.option(
        "--result", "results", multiple=True, metavar="RESULT", help="exit1, signal, timeout, failed, …; repeatable."
    ),
    groups_option,
    click.option("--match", metavar="RE", help="Only jobs whose id or command matches this regular expression."),
    click.option(
        "--where",
        multiple=True,
        metavar="NAME=VALUE",
        help="Only jobs with this value: body.sweep=3, 'timeout>60', result!=exit1; repeatable, all must hold.",
    ),
)
NAMES = ("state", "since", "until", "results", "groups", "match", "where")
"""The parameters that these options give a command."""
_TIMES = ("since", "until")


def filter_options(command: F) -> F:
    """Give a command the options, as the parameters `NAMES`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def job_filter_options(command: F) -> F:
    """Give a command the options but --since and --until, for one whose own --since means something else."""
    for option in reversed([option for option, name in zip(_OPTIONS, NAMES, strict=True) if name not in _TIMES]):
        command = option(command)
    return command


def is_given(given: dict[str, Any]) -> bool:
    """Whether any of the options was used."""
    return any(given.get(name) for name in NAMES)


def make_filter(given: dict[str, Any], among: tuple[State, ...] = ALL, default: str | None = None) -> Filter:
    """The filter that the options describe; `default` is the state if none was given.

    Raises UsageError for unknown words, or a state that is not `among` those the command applies to.
    """
    words = [word for text in given["state"] for word in text.split(",")] or [default or "all"]
    for word in words:
        if word not in WORDS:
            raise UsageError(f"unknown state {word!r}", hint=f"states: {' '.join(_OWN_WORDS)}")
        if not set(WORDS[word][0]) & set(among):
            raise UsageError(f"this does not apply to {word} jobs", f"only to {' or '.join(among)} ones")
    given = dict.fromkeys(_TIMES) | given
    for option in _TIMES:
        if given[option]:
            require_unit(given[option], f"--{option} {{}}")
    states, where = _union(words)
    return Filter(
        tuple(state for state in among if state in states),
        where,
        since=parse_past(given["since"], now()) if given["since"] else None,
        until=parse_past(given["until"], now()) if given["until"] else None,
        results=tuple(_check_result(text) for text in given["results"]),
        groups=tuple(map(groups.require_name, given["groups"])),
        match=_compile(given["match"]) if given["match"] else None,
        conditions=tuple(map(Condition.parse, given["where"])),
    )


def _union(words: list[str]) -> tuple[set[State], Where | None]:
    """The states of several words, and what a name must be; only waiting jobs differ in more than their state."""
    meant = [WORDS[word] for word in words]
    tests = [where for states, where in meant if State.PENDING in states]

    def takes(name: Name) -> bool:
        return not isinstance(name, PendingName) or any(test is None or test(name) for test in tests)

    return {state for states, _ in meant for state in states}, takes if any(tests) else None


def _check_result(text: str) -> str:
    if text not in (*RESULT_KINDS, "failed", "succeeded"):
        try:
            Result.parse(text)
        except ValueError:
            hint = "results: exitN signalN exit signal timeout lost cancelled invalid skipped failed"
            raise UsageError(f"unknown result {text!r}", hint=hint) from None
    return text


def _compile(text: str) -> re.Pattern[str]:
    """The expression, or the literal text: a job that contains what was typed always matches."""
    try:
        return re.compile(f"{re.compile(text).pattern}|{re.escape(text)}")
    except re.error as error:
        raise UsageError(
            f"not a regular expression: {text!r}", f"{error}", r"put a \ before characters such as * + ( ["
        ) from None
