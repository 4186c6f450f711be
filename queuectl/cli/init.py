"""`queuectl init`"""

from __future__ import annotations

import os

import click

from queuectl.cli.context import json_option, named_spool, note, print_json
from queuectl.errors import QueuectlError
from queuectl.spool.system import layout


@click.command()
@click.argument("directory", required=False, metavar="[DIR]", type=click.Path(file_okay=False, readable=False))
@click.option("--drop-box", metavar="GROUP", help="Let this group hand in jobs through inbox/, and nothing else.")
@click.option("--shared", "is_shared", is_flag=True, help="For workers of several hosts, which mount this directory.")
@json_option
def init(directory: str | None, drop_box: str | None, is_shared: bool, as_json: bool) -> None:
    """Create a spool, by default ./spool. Existing files are kept.

    Anyone who can write to pending/ can run commands as the worker's user; by default only you can. With
    --drop-box, a group may hand in job files through inbox/. Workers run those of the users that the setting
    allow-users names.

    On NFS, GlusterFS, Lustre, CephFS and the like, workers of several hosts may share a new spool. With --shared
    they may on any file system, and share one that exists already, if no worker of it runs; see docs/hosts.md.

    \b
    Example:
      queuectl init
      queuectl init /srv/jobs/spool
      queuectl init /srv/jobs/spool --drop-box staff
      queuectl init /mnt/cluster/spool --shared
    """
    path = os.path.abspath(directory or named_spool() or "spool")
    gid = None
    if drop_box:
        from queuectl.spool.moves import dropbox

        dropbox.require_owner(path)
        gid = dropbox.find_group(drop_box)
    is_new = not os.path.lexists(path)
    if is_shared:
        from queuectl.spool.upkeep import convert

        convert.require_idle(layout.Layout(path))
    was_there = layout.is_spool(path)
    made = layout.create(path, is_shared=is_shared or None) and not was_there
    spool = layout.Layout(path)
    if gid is not None:
        try:
            _make_drop_box(spool, gid)
        except QueuectlError:
            if is_new:  # a spool without the drop box is not what was asked for
                layout.remove_new(path)
            raise
    if as_json:
        print_json({"spool": path, "created": made, "shared": spool.shared})
    else:
        several = ", which several hosts may share" if spool.shared else ""
        note(f"{'created the spool' if made else 'already a spool:'} {path}{several}")
    if gid is not None:
        note(f"the group {drop_box} may hand in jobs through {path}/inbox; to let users in: config set allow-users")


def _make_drop_box(spool: layout.Layout, gid: int) -> None:
    """Make the drop box. If others could write to pending/ so far, files in it that are not the owner's alone go to
    the dead letters."""
    from queuectl.spool.moves import adopt, dropbox
    from queuectl.spool.system import clock

    was_open = dropbox.is_open_pending(spool)
    dropbox.make(spool, gid)
    if not was_open:
        return
    names = dropbox.find_strangers(spool)
    if os.geteuid() != os.stat(spool.root).st_uid:  # the logs would be root's, and the owner's workers need them
        if names:
            note(f"warning: {len(names)} files in pending/ that others made or could change; check them: ls -l")
        return
    for name in names:
        reason = "others could write to pending/ when it was put there, and they own it or could change it"
        try:
            adopt.refuse(spool, name, reason, clock.now())
        except OSError as error:
            note(f"warning: pending/{name} cannot be moved: {error.strerror}")
        else:
            note(f"pending/{name} moved to the dead letters: others made it, or could change it")
