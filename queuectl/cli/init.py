"""`queuectl init`"""

from __future__ import annotations

import click

from queuectl.cli.context import note
from queuectl.spool import layout


@click.command()
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(file_okay=False))
@click.pass_context
def init(ctx: click.Context, directory: str | None) -> None:
    """Make a spool, by default in ./spool. What is there already stays as it is.

    \b
    Example:
      queuectl init /srv/jobs/spool
    """
    path = directory or ctx.find_root().obj or "spool"
    made = layout.create(path)
    note(f"{'created the spool' if made else 'this is a spool already:'} {path}")
