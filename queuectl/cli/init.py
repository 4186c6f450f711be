"""`queuectl init`"""

from __future__ import annotations

import os

import click

from queuectl.cli.context import named_spool, note
from queuectl.spool import layout, trust


@click.command()
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(file_okay=False))
@click.option("--drop-box", metavar="GROUP", help="Let this group add files to pending/, and nothing else.")
def init(directory: str | None, drop_box: str | None) -> None:
    """Make a spool, by default in ./spool. What is there already stays as it is.

    Whoever can write to pending/ runs commands as the worker's user: so far only you. With --drop-box a group
    may hand in job files, and workers run those of the users that `config set allow-users` names.

    \b
    Example:
      queuectl init
      queuectl init /srv/jobs/spool
      queuectl init /srv/jobs/spool --drop-box staff
    """
    path = os.path.abspath(directory or named_spool() or "spool")
    made = layout.create(path)
    if drop_box:
        trust.make_drop_box(layout.Layout(path), drop_box)
    note(f"{'created the spool' if made else 'this is a spool already:'} {path}")
