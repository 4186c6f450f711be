"""`queuectl fsck`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, shown
from queuectl.core.text import format_count

if TYPE_CHECKING:
    from queuectl.spool.system.layout import Layout
    from queuectl.spool.upkeep.findings import Finding


@click.command()
@click.option("--repair", is_flag=True, help="Repair what is safe to repair. No job is deleted, no body changed.")
@json_option
@click.pass_context
def fsck(ctx: click.Context, repair: bool, as_json: bool) -> None:
    """Check that the spool is sound, and explain what is not. Exits with 1 if an invariant does not hold.

    May run alongside workers. A note is something harmless, or something that goes away by itself.

    \b
    Example:
      queuectl fsck
      queuectl fsck --repair
    """
    import socket

    from queuectl.core.names import format_worker, parse_worker
    from queuectl.spool.system import versions
    from queuectl.spool.upkeep.findings import Weight
    from queuectl.spool.upkeep.fsck import check

    spool = open_spool()
    host = parse_worker(format_worker(socket.gethostname(), 1, "aaaa"))[0]
    found = [*_check_settings(spool.layout), *check(spool.layout, host)]
    repaired = [bool(repair and finding.repair and finding.repair()) for finding in found]
    left = sum(f.weight is Weight.PROBLEM and not done for f, done in zip(found, repaired, strict=True))
    number, used = versions.needed(spool.layout)
    if as_json:
        rows = [{**finding.to_json(), "repaired": done} for finding, done in zip(found, repaired, strict=True)]
        print_json({"spool": str(spool.path), "sound": left == 0, "format": number, "findings": rows})
    else:
        for finding, done in zip(found, repaired, strict=True):
            what = "repaired" if done else finding.weight
            click.echo(shown(f"{what:<8} {finding.path}\n         {finding.what}; {finding.remedy}"))
        note(f"{format_count(left, 'problem')}, {format_count(len(found) - left, 'note')}" if found else "sound")
        if used:
            note(f"needs workers of format {number}, as it has {', '.join(used)}")
    if left:
        ctx.exit(1)


def _check_settings(layout: Layout) -> Iterator[Finding]:
    """What is wrong with config.toml, whatever the environment holds."""
    from queuectl.cli.settings import NO_WORKER
    from queuectl.spool.system import settings
    from queuectl.spool.upkeep.findings import Finding, Weight

    found = settings.examine(layout, {})
    for error in found.wrong:
        yield Finding(Weight.PROBLEM, layout.config, settings.describe(error), NO_WORKER)
    for error in found.unknown:
        yield Finding(Weight.NOTE, layout.config, error.what, error.hint)
