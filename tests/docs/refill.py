"""Brings the output in documents up to date: `python -m tests.docs.refill README.md`.

Runs the document and replaces the output of each console command that no longer matches. Read the
difference before you commit it: a document is also a promise.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs import session
from tests.docs.markdown import Command, blocks, commands


def refill(text: str, home: Path) -> str:
    """The document with the output that its commands have now."""
    found = blocks(text)
    outputs = session.outputs_of(found, home)
    lines: list[str] = []
    old = text.splitlines()
    at = 0
    for command in (command for block in found if block.language == "console" for command in commands(block)):
        actual = outputs[command.line]
        if session.is_match(command.output, actual):
            continue
        start, end = _span_of_output(command)
        lines += [*old[at:start], *actual.rstrip("\n").splitlines()]
        at = end
    return "\n".join([*lines, *old[at:]]) + "\n"


def _span_of_output(command: Command) -> tuple[int, int]:
    """Indexes of the first line of output and of the line behind the last."""
    start = command.line + command.text.count("\n")
    return start, start + (len(command.output.split("\n")) if command.output else 0)


def main(paths: list[str]) -> None:
    for name in paths:
        path = Path(name)
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory) / "home"
            home.mkdir()
            path.write_text(refill(path.read_text(), home))


if __name__ == "__main__":
    main(sys.argv[1:])
