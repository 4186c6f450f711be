"""`queuectl completion`: the completion script of a shell, printed or put where the shell looks for it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from queuectl.cli import completion as scripts
from queuectl.errors import UsageError

_NEXT = {
    "bash": "it is loaded by new shells, if the package bash-completion is there; else put this into ~/.bashrc:\n"
    '  eval "$(queuectl completion bash)"',
    "zsh": "put this into ~/.zshrc, before compinit:\n  fpath=({directory} $fpath)",
    "fish": "it is loaded by new shells",
}


@click.command()
@click.argument("shell", type=click.Choice([*scripts.SHELLS]), required=False)
@click.option("--install", is_flag=True, help="Put it where the shell looks for those of this user.")
def completion(shell: str | None, install: bool) -> None:
    """Print the completion script for a shell, by default yours.

    It completes commands, options and their values, ids of jobs, groups and settings, and the programs and files
    of a job's command.

    \b
    Example:
      queuectl completion --install
      eval "$(queuectl completion bash)"
      queuectl completion fish | source
    """
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in scripts.SHELLS:
        raise UsageError(
            f"no completion for the shell {name!r}" if name else "which shell?",
            hint=f"name one of: {' '.join(scripts.SHELLS)}",
        )
    if not install:
        click.echo(scripts.script(name), nl=False)
        return
    path = _path_for(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(scripts.script(name))
    click.echo(path)
    click.echo(_NEXT[name].format(directory=path.parent), err=True)


def _path_for(shell: str) -> Path:
    """Where that shell, or its package of completions, looks for the scripts of this user."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    if shell == "bash":
        own = os.environ.get("BASH_COMPLETION_USER_DIR")
        return (Path(own) if own else data / "bash-completion") / "completions/queuectl"
    if shell == "zsh":
        return data / "zsh/site-functions/_queuectl"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions/queuectl.fish"
