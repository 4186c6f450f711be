"""`queuectl man`: the manual pages that are part of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack
from importlib.resources import as_file, files

import click

from queuectl.errors import NotFoundError, QueuectlError


@click.command()
@click.argument("words", nargs=-1, metavar="[COMMAND]... | spool")
@click.option("--path", is_flag=True, help="Print the directory of the manual pages, for $MANPATH.")
@click.pass_context
def man(ctx: click.Context, words: tuple[str, ...], path: bool) -> None:
    """Show the manual page of a command, or of the spool's format.

    \b
    Example:
      queuectl man worker start
      queuectl man spool
      export MANPATH="$(queuectl man --path):"
    """
    pages = files("queuectl") / "man"
    if path:
        click.echo(os.fsdecode(str(pages)))
        return
    name = "-".join(("queuectl", *words))
    found = next(
        (there for there in (pages / "man1" / f"{name}.1", pages / "man5" / f"{name}.5") if there.is_file()), None
    )
    if found is None:
        raise NotFoundError(f"no manual page for {' '.join(words)!r}", hint="see: queuectl --help")
    program = shutil.which("man")
    if program is None:
        raise QueuectlError(
            "the program man is not installed",
            f"the page is {found}",
            f"see: {' '.join(('queuectl', *words, '--help'))}",
        )
    with ExitStack() as stack:
        page = stack.enter_context(as_file(found))
        ctx.exit(subprocess.run([program, "-l", "--", str(page)], check=False).returncode)
