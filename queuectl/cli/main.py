"""The `queuectl` command: finds the spool, loads one command's module, turns errors into exit codes."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterable

import click

from queuectl import __version__
from queuectl.cli import interrupts
from queuectl.cli.context import show_error, unwritten
from queuectl.cli.groups import LazyGroup
from queuectl.core.text import escape_unencodable
from queuectl.errors import QueuectlError, SpoolError, UsageError
from queuectl.spool.system import layout

_COMMANDS = {
    "init": "queuectl.cli.init:init",
    "enqueue": "queuectl.cli.enqueue:enqueue",
    "run": "queuectl.cli.enqueue:run",
    "status": "queuectl.cli.status:status",
    "top": "queuectl.cli.top:top",
    "list": "queuectl.cli.list:list_",
    "show": "queuectl.cli.show:show",
    "states": "queuectl.cli.states:states",
    "explain": "queuectl.cli.explain:explain",
    "graph": "queuectl.cli.graph:graph",
    "logs": "queuectl.cli.logs:logs",
    "wait": "queuectl.cli.wait:wait",
    "metrics": "queuectl.cli.metrics:metrics",
    "dashboard": "queuectl.cli.dashboard:dashboard",
    "cancel": "queuectl.cli.cancel:cancel",
    "kill": "queuectl.cli.cancel:kill",
    "retry": "queuectl.cli.retry:retry",
    "hold": "queuectl.cli.hold:hold",
    "release": "queuectl.cli.hold:release",
    "first": "queuectl.cli.hold:first",
    "set": "queuectl.cli.edit:set_",
    "edit": "queuectl.cli.edit:edit",
    "dlq": "queuectl.cli.dlq:dlq",
    "rm": "queuectl.cli.prune:rm",
    "progress": "queuectl.cli.progress:progress",
    "worker": "queuectl.cli.worker:worker",
    "pause": "queuectl.cli.pause:pause",
    "resume": "queuectl.cli.pause:resume",
    "drain": "queuectl.cli.pause:drain",
    "group": "queuectl.cli.group:group",
    "schedule": "queuectl.cli.schedule:schedule",
    "prune": "queuectl.cli.prune:prune",
    "config": "queuectl.cli.config:config",
    "fsck": "queuectl.cli.fsck:fsck",
    "doctor": "queuectl.cli.doctor:doctor",
    "bundle": "queuectl.cli.bundle:bundle",
    "schema": "queuectl.cli.schema:schema",
    "conform": "queuectl.cli.conform:conform",
    "completion": "queuectl.cli.completions:completion",
    "man": "queuectl.cli.man:man",
}
"""Where each command is, by what it is for, and then in the order in which people need them."""
_HEADINGS = {"init": "Submit", "status": "Look", "cancel": "Act on jobs", "worker": "Operate"}
"""The first command under each heading of the help."""

_HYPHEN = "\ue000"
"""Stands for a hyphen while help is wrapped: a private character, at which no line is broken."""


class _Formatter(click.HelpFormatter):
    """Writes help, with every option in one piece: click breaks lines at hyphens (8.3)."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("-", _HYPHEN)) for name, text in rows], col_max, col_spacing)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args.replace("-", _HYPHEN), prefix)

    def getvalue(self) -> str:
        return super().getvalue().replace(_HYPHEN, "-")


click.Context.formatter_class = _Formatter

EPILOG = """\b
Exit codes:
  0 ok   1 failed   2 usage   3 no such job   4 already exists
  5 timed out waiting   6 the spool is unusable
  130 interrupted by Ctrl-C   141 nobody reads the output any more (| head)

See `queuectl man COMMAND` for its manual page, and `queuectl completion` for completion in your shell.
"""


NOBODY_READS = 141
"""The exit code if the reader of the output is gone: what a shell reports of a program that SIGPIPE (13) has ended."""


@click.group(
    cls=LazyGroup,
    places=_COMMANDS,
    headings=_HEADINGS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--spool", metavar="DIR", type=click.Path(readable=False), help="The spool's directory.")
@click.version_option(__version__, prog_name="queuectl")
def app(spool: str | None) -> None:
    """Run shell commands from a queue that is a directory.

    A job is one JSON file; the directory it is in is its state. The spool is --spool, else
    $QUEUECTL_SPOOL, else spool/ in this or the nearest parent directory, else one in your home.

    \b
    Example:
      queuectl enqueue -- echo hello
      queuectl worker start --count 2 --drain
      queuectl status
    """


def main() -> None:
    """Run the command line and exit with its code, once all output has been written."""
    _open_closed_streams()
    codecs.register_error("queuectl", escape_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = "utf-8" if stream.encoding.lower() in ("ascii", "ansi_x3.4-1968") else None
            stream.reconfigure(encoding=encoding, errors="queuectl")  # texts may hold what the locale cannot
    if "_QUEUECTL_COMPLETE" in os.environ:
        from queuectl.cli import completion

        completion.register()
    code = 0
    failure: OSError | None = None
    try:
        interrupts.raise_exception()
        code = _run()
        sys.stdout.flush()
        sys.stderr.flush()
    except (click.Abort, KeyboardInterrupt):
        interrupts.end_at_once()
        interrupts.report()
        code = interrupts.CODE
    except OSError as error:
        failure = error
    interrupts.end_at_once()
    failure = failure or unwritten()
    if isinstance(failure, BrokenPipeError):
        code = NOBODY_READS
    elif failure is not None:
        failed = _report_failure(failure)
        code = code or failed
    sys.exit(code)


def _run() -> int:
    """Run the command; its exit code. Raises what has nothing to do with jobs: interrupts and errors of the system."""
    try:
        if "_QUEUECTL_COMPLETE" in os.environ:
            code = app.main(prog_name="queuectl", standalone_mode=False)
        else:
            # not click's main, which has rules of its own for Ctrl-C and for a reader that is gone
            with app.make_context("queuectl", sys.argv[1:]) as context:
                code = app.invoke(context)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except QueuectlError as error:
        code = show_error(error)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        code = show_error(_in_our_words(error))
    return code if isinstance(code, int) else 0


def _report_failure(error: OSError) -> int:
    """Say what the system refused; the exit code."""
    why = error.strerror or str(error)
    if error.filename is not None:
        return show_error(SpoolError("the spool cannot be used", f"{error.filename}: {why}", layout.hint_for(error)))
    if isinstance(error, FileNotFoundError):
        try:
            layout.working_directory()
        except UsageError as gone:
            return show_error(gone)
    return show_error(QueuectlError("input or output failed", why))  # say, on a full disk


def _open_closed_streams() -> None:
    """Open /dev/null for each standard stream that the caller closed (`>&-`), before a file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the whole run


def _in_our_words(error: click.ClickException) -> UsageError:
    what = error.format_message().removesuffix(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.UsageError):
        from queuectl.cli.suggest import unexpected_word, unknown_option

        better = unknown_option(error) or unexpected_word(error)
        if better is not None:
            return better
    return UsageError(what[:1].lower() + what[1:], hint=f"see: {context.command_path} --help" if context else "")
