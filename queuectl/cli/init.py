"""`queuectl init`"""

from __future__ import annotations

import os

import click

from queuectl.cli.context import named_spool, note
from queuectl.spool import layout


@click.command()
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(file_okay=False))
def init(directory: str | None) -> None:
    """Make a spool, by default in ./spool. What is there already stays as it is.

    \b
    Example:
      queuectl init
      queuectl init /srv/jobs/spool
    """
    path = os.path.abspath(directory or named_spool() or "spool")
    made = layout.create(path)
    note(f"{'created the spool' if made else 'this is a spool already:'} {path}")
