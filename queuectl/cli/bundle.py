"""`queuectl bundle`"""

from __future__ import annotations

import os
import sys

import click

from queuectl import __version__
from queuectl.cli.context import complete_jobs, open_spool
from queuectl.errors import UsageError


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=complete_jobs())
@click.option("-o", "--output", "path", metavar="FILE", help="Where to write it; - for stdout.")
def bundle(ids: tuple[str, ...], path: str | None) -> None:
    """Collect what a bug report needs in a tar file, without secrets.

    Of each job its file, log and names; and the versions, settings and counts of files. The values of variables,
    passwords, tokens and keys are left out as far as they can be recognised: look through it before you pass it on.

    \b
    Example:
      queuectl bundle report
      queuectl bundle report -o - | tar -tz
    """
    import io
    import tarfile

    from queuectl.spool.system.clock import now
    from queuectl.spool.upkeep.bundle import collect

    spool = open_spool()
    jobs = [spool.get(id) for id in ids]
    files = list(collect(spool.layout, spool.examine_settings(), jobs, spool.explain, __version__))
    folder = "-".join(("queuectl-bundle", *(job.id for job in jobs[:1])))
    path = path or f"{folder}.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, text in files:
            data = text.encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode, member.mtime = len(data), 0o600, int(now().timestamp())
            tar.addfile(member, io.BytesIO(data))
    if path == "-":
        sys.stdout.buffer.write(buffer.getvalue())
        return
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(buffer.getvalue())
    except FileExistsError:
        raise UsageError(f"{path} is there already", hint="choose another name: -o FILE") from None
    click.echo(path)
    click.echo("look through it before you pass it on: it may hold secrets that nothing could recognise", err=True)
