"""`queuectl doctor`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, shown

if TYPE_CHECKING:
    from queuectl.spool.store import Spool
    from queuectl.spool.system.settings import Found
    from queuectl.spool.upkeep.doctor import Check


@click.command()
@click.option("--with-peer", is_flag=True, help="Run it on two hosts at once: they test what they share.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, with_peer: bool, as_json: bool) -> None:
    """Test what this machine and the spool's file system support. Exits with 1 if a promise cannot be kept.

    In a spool that several hosts share, two processes also claim the same files. With --with-peer two hosts do, if it
    is started on both within a minute.

    \b
    Example:
      queuectl doctor
      queuectl doctor --with-peer
    """
    from queuectl import __version__
    from queuectl.spool.upkeep.doctor import Health, examine

    spool = open_spool()
    found = spool.examine_settings()
    checks = [
        *_check_settings(found),
        *examine(spool.layout, found.settings.min_free, found.settings.allow_users or "", __version__),
    ]
    if with_peer:
        checks += _meet(spool)
    if as_json:
        print_json({"spool": str(spool.path), "shared": spool.shared, "checks": [check.to_json() for check in checks]})
    else:
        for check in checks:
            click.echo(shown(f"{check.health:<5} {check.subject:<18} {check.found}"))
            if check.advice:
                click.echo(shown(f"      {'':<18} {check.advice}"))
    if any(check.health is Health.BAD for check in checks):
        ctx.exit(1)


def _meet(spool: Spool) -> Iterator[Check]:
    """What is found out together with another host. Raises UsageError for a spool that is one host's."""
    from queuectl.errors import UsageError
    from queuectl.spool.upkeep import peer
    from queuectl.spool.upkeep.doctor import Check, Health

    if not spool.shared:
        raise UsageError(f"{spool.path} is one host's", hint="for several: queuectl init --shared")
    note("waiting for another host: queuectl doctor --with-peer")
    for found in peer.meet(spool.layout):
        yield Check(Health.OK if found.is_good else Health.BAD, found.what, found.said, found.advice)


def _check_settings(found: Found) -> Iterator[Check]:
    """A line for each invalid setting, in config.toml or in the environment, and for each unknown one."""
    from queuectl.cli.settings import NO_WORKER
    from queuectl.spool.system import trust
    from queuectl.spool.system.settings import describe
    from queuectl.spool.upkeep.doctor import Check, Health

    for error in found.wrong:
        yield Check(Health.BAD, "settings", describe(error), NO_WORKER)
    for error in found.unknown:
        yield Check(Health.WARN, "settings", error.what, error.hint)
    for name in trust.find_users(found.settings.allow_users or "").unknown:
        yield Check(Health.WARN, "settings", f"allow-users: no such user: {name}", "queuectl config set allow-users")
    if not found.wrong and not found.unknown:
        number = sum(source != "default" for _, source in found.values.values())
        yield Check(Health.OK, "settings", f"{number} of {len(found.values)} set")
