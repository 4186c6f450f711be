"""`queuectl doctor`"""

from __future__ import annotations

import click

from queuectl.cli.context import json_option, open_spool, print_json, shown


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Try out what this machine and the spool's file system can do. Exits with 1 if a promise cannot be kept.

    \b
    Example:
      queuectl doctor
    """
    from queuectl import config
    from queuectl.spool.doctor import Health, examine

    spool = open_spool()
    checks = list(examine(spool.layout, config.load(spool.layout).min_free))
    if as_json:
        print_json({"spool": str(spool.path), "checks": [check.to_json() for check in checks]})
    else:
        for check in checks:
            click.echo(shown(f"{check.health:<5} {check.subject:<18} {check.found}"))
            if check.advice:
                click.echo(shown(f"      {'':<18} {check.advice}"))
    if any(check.health is Health.BAD for check in checks):
        ctx.exit(1)
