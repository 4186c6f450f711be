"""`queuectl states`"""

from __future__ import annotations

import click

from queuectl.cli.context import json_option, open_spool, print_json, shown
from queuectl.cli.targets import ids_argument, read_ids
from queuectl.spool.reading.states import UNKNOWN, states_of, to_json


@click.command()
@ids_argument()
@json_option
def states(ids: tuple[str, ...], as_json: bool) -> None:
    """Print the states of many jobs, for programs that follow theirs.

    Prints a line for each id, in this order: the id, its state, and how it ended if it has. An id that
    the spool does not hold, or no longer since it was pruned, is `unknown`; the exit code is 0 all the
    same. Ids are whole here. However many there are, each directory of the spool is listed once, and
    no job is read.

    \b
    Example:
      queuectl states report backup
      queuectl states - < ids
    """
    found = states_of(open_spool().layout, read_ids(ids))
    if as_json:
        print_json([to_json(id, job) for id, job in found.items()])
        return
    for id, job in found.items():
        result = f" {job.result}" if job and job.result else ""
        word = id if job else "?".join(shown(id).split())  # what is not an id may hold spaces
        click.echo(f"{word} {job.state if job else UNKNOWN}{result}")
