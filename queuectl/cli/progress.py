"""`queuectl progress`"""

from __future__ import annotations

import os

import click

from queuectl.core.names import is_valid_id
from queuectl.errors import SpoolError, UsageError
from queuectl.spool.system import progress as progress_files


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("text", nargs=-1, required=True, metavar="TEXT...")
def progress(text: tuple[str, ...]) -> None:
    """Report how far a job is, from within it.

    The text is shown by list, top and show while the job runs, up to 200 characters. It is the same as writing a line
    to the file $QUEUECTL_PROGRESS.

    \b
    Example:
      queuectl progress 42% epoch 3
      echo "42% epoch 3" >"$QUEUECTL_PROGRESS"
    """
    path = os.environ.get(progress_files.VARIABLE, "")
    if not path:
        hint = "to see what jobs report: queuectl list"
        if len(text) == 1 and is_valid_id(text[0].removesuffix(".")):
            hint = f"to see how far a group is: queuectl status {text[0].removesuffix('.')}."
        raise UsageError("not within a job", f"{progress_files.VARIABLE} is not set", hint)
    try:
        progress_files.write(path, " ".join(text))
    except OSError as error:
        raise SpoolError("cannot report progress", f"{path}: {error.strerror}") from error
