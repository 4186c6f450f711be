"""`queuectl metrics`"""

from __future__ import annotations

import click

from queuectl.cli.context import json_option, one_group, one_group_option, open_spool, print_json
from queuectl.core.text import format_count, format_seconds, format_size

_KINDS = 8


@click.command()
@one_group_option
@json_option
def metrics(group: str, as_json: bool) -> None:
    """Show success rate, durations and throughput.

    Covers the finished jobs that the spool still holds, from their file names alone; with --group also the memory and
    CPU time that the newest thousand of them used, and how long they had waited to start, from their logs.

    \b
    Example:
      queuectl metrics
      queuectl metrics --json | jq .p95
      queuectl metrics --group gpu
    """
    found = open_spool().metrics(group=one_group(group))
    if as_json:
        from queuectl.spool.reading import shapes

        print_json(shapes.metrics(found))
        return
    rate = "" if found.success_rate is None else f"{found.success_rate:.1%}"
    rows: tuple[tuple[str, str], ...] = (
        ("finished", f"{found.finished}"),
        ("done", f"{found.done}"),
        ("dead", f"{found.dead}"),
        *((("skipped", f"{found.skipped}"),) if found.skipped else ()),
        ("success", rate or "-"),
        ("results", _results(found.results) or "-"),
        ("attempts", f"{found.attempts}"),
        ("mean", _seconds(found.mean)),
        ("p50", _seconds(found.p50)),
        ("p95", _seconds(found.p95)),
        ("longest", _seconds(found.longest)),
        ("throughput", f"{found.per_minute:.1f} a minute"),
        ("recent", f"{found.last_minute} in a minute, {found.last_hour} in an hour, {found.last_day} in a day"),
    )
    if (used := found.usage) is not None:
        memory = f"{format_size(used.largest_rss)} at most, half of them up to {format_size(used.p50_rss)}"
        of = f" (of the newest {used.jobs})" if used.jobs < found.finished else ""
        rows = (*rows, ("memory", f"{memory}{of}"), ("cpu", f"{format_seconds(used.cpu)}{of}"))
        if used.p50_wait is not None and used.p95_wait is not None:
            waited = f"half of them up to {format_seconds(used.p50_wait)}, 95% up to {format_seconds(used.p95_wait)}"
            rows = (*rows, ("waited", f"{waited}{of}"))
    for name, value in rows:
        click.echo(f"{name:<11} {value}")


def _results(found: dict[str, int]) -> str:
    """How many ended how: the most frequent kinds, then the rest as a sum."""
    shown = [f"{number} {result}" for result, number in found.items()]
    if len(shown) <= _KINDS + 1:
        return ", ".join(shown)
    rest = list(found.values())[_KINDS:]
    return ", ".join((*shown[:_KINDS], f"and {format_count(sum(rest), 'job')} of {len(rest)} other kinds"))


def _seconds(value: float | None) -> str:
    return "-" if value is None else format_seconds(value)
