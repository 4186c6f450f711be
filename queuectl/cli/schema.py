"""`queuectl schema`: JSON Schemas for editors and other tools."""

from __future__ import annotations

import json

import click

from queuectl import schemas


@click.command()
@click.argument("name", type=click.Choice(schemas.NAMES))
def schema(name: str) -> None:
    """Print JSON Schemas of job files, schedules and --json.

    An editor completes and checks files with the first two; the last has a definition for each command in its $defs.

    \b
    Example:
      queuectl schema job > job.schema.json
      queuectl schema output | jq '."$defs"."queuectl list"'
    """
    click.echo(json.dumps(schemas.load(name), indent=2))
