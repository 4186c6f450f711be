"""`queuectl init`"""

from __future__ import annotations

import os

import click

from queuectl.cli.context import named_spool, note
from queuectl.spool.system import layout


@click.command()
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(file_okay=False))
@click.option("--drop-box", metavar="GROUP", help="Let this group hand in jobs through inbox/, and do nothing else.")
def init(directory: str | None, drop_box: str | None) -> None:
    """Make a spool, by default in ./spool. What is there already stays as it is.

    Whoever can write to pending/ runs commands as the worker's user: so far only you. With --drop-box a group
    may hand in job files through inbox/, and workers run those of the users that `config set allow-users` names.

    \b
    Example:
      queuectl init
      queuectl init /srv/jobs/spool
      queuectl init /srv/jobs/spool --drop-box staff
    """
    path = os.path.abspath(directory or named_spool() or "spool")
    gid = None
    if drop_box:
        from queuectl.spool.moves import dropbox

        dropbox.require_owner(path)
        gid = dropbox.find_group(drop_box)
    made = layout.create(path)
    note(f"{'created the spool' if made else 'this is a spool already:'} {path}")
    if gid is not None:
        _make_drop_box(layout.Layout(path), gid)
        note(f"the group {drop_box} may hand in jobs through {path}/inbox; say whose are run: config set allow-users")


def _make_drop_box(spool: layout.Layout, gid: int) -> None:
    """Make the drop box; what lies in a pending/ that others could write to so far, and is not the owner's alone,
    goes to the dead letters."""
    from queuectl.spool.moves import adopt, dropbox
    from queuectl.spool.system import clock

    was_open = dropbox.is_open_pending(spool)
    dropbox.make(spool, gid)
    if not was_open:
        return
    names = dropbox.find_strangers(spool)
    if os.geteuid() != os.stat(spool.root).st_uid:  # the logs would be root's, and the owner's workers need them
        if names:
            note(f"warning: {len(names)} files in pending/ that others made or could change; have a look: ls -l")
        return
    for name in names:
        reason = "others could write to pending/ when it came there, and it is theirs or they could change it"
        try:
            adopt.refuse(spool, name, reason, clock.now())
        except OSError as error:
            note(f"warning: pending/{name} cannot be moved: {error.strerror}")
        else:
            note(f"pending/{name} went to the dead letters: others made it, or could change it")
