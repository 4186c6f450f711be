"""Runs a document's blocks in one shell, in a directory of their own, and compares what they print."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from queuectl import Spool
from queuectl.spool.system.layout import is_spool
from tests.docs.markdown import Block, commands
from tests.support import environment

HOME = "/home/ann"
"""What the documents call the directory that they are run in."""

_MARK = "\x1e"
_VOLATILE = (
    (r"\d{8}T\d{6}\.\d{3}Z", "STAMP"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}", "INSTANT"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}", "MINUTE"),
    (r"\b(?:\d{4}-)?\d\d-\d\d \d\d:\d\d\b", "DAY"),
    (r"\b\d\d:\d\d:\d\d\b", "CLOCK"),
    (r"\b[a-z0-9_.]{1,20}\.\d+\.[a-z0-9]{4}\b", "WORKER"),
    (r"\bpid=\d+", "pid=PID"),
    (r"-\d+\.\d{3}s-", "-SECONDS-"),
    (r"\b\d+(?:\.\d+)? ?(?:ms|s|m|h|d)\b(?: ?\d+ ?[smh]\b)?", "DURATION"),
    (r"\b\d+(?:\.\d+)? [KMGT]iB\b", "SIZE"),
    (r"\b\d+ inodes", "N inodes"),
    (r"\b\d+\.\d a minute", "RATE a minute"),
    (r"\b[a-z2-7]{12}\b", "ID"),
    (r"-[a-z2-7]{6}\b", "-SUFFIX"),
    (r"\.run-[a-z2-7]{8}\b", ".run-SUFFIX"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True)
class Step:
    """Something for the shell to do, and the output it must have, if any is documented."""

    text: str
    output: str | None
    line: int


@dataclass(frozen=True)
class Outcome:
    """What a command or script did: `status` is None if the shell never came to its end."""

    output: str
    status: int | None


def normalise(text: str) -> list[str]:
    """Lines without what differs from run to run: times, durations, generated ids, sizes, column widths."""
    for pattern, word in _VOLATILE:
        text = re.sub(pattern, word, text)
    return [line.rstrip() for line in text.strip("\n").split("\n")]


def is_match(expected: str, actual: str) -> bool:
    """Whether output is as documented; a line `…` stands for any number of lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in normalise(expected))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in normalise(actual))) is not None


def problems_of(found: Sequence[Block], home: Path, timeout: float = 60) -> list[str]:
    """Run the blocks, starting in `home`, each command for at most so many seconds; what is not as documented."""
    steps = [step for block in found for step in _steps_of(block)]
    problems = []
    for step, outcome in zip(steps, _run(steps, home, timeout), strict=True):
        where = f"line {step.line}: {step.text.strip()}"
        if outcome.status != 0:
            problems.append(f"{where}\n-- ended with {outcome.status} and said:\n{outcome.output}")
        elif step.output is not None and not is_match(step.output, outcome.output):
            problems.append(f"{where}\n-- should say:\n{step.output}\n-- said:\n{outcome.output}")
    return [*problems, *(f"a worker was left running: {name}" for name in _stop_workers(home))]


def outputs_of(found: Sequence[Block], home: Path) -> dict[int, str]:
    """What each command or script printed, by its line number."""
    steps = [step for block in found for step in _steps_of(block)]
    outputs = {step.line: outcome.output for step, outcome in zip(steps, _run(steps, home, 60), strict=True)}
    _stop_workers(home)
    return outputs


def _steps_of(block: Block) -> list[Step]:
    """A block as commands of the shell that runs the document."""
    if block.file is not None:
        return [Step(f"cat > {block.file} <<'{_MARK}'\n{block.text}{_MARK}", None, block.line)]
    if block.language == "sh":
        return [Step(f"set -e\n{block.text}set +e", None, block.line)]
    if block.language == "bash":
        return [Step(f"bash -e <<'{_MARK}'\n{block.text}{_MARK}", None, block.line)]
    if block.language == "crontab":
        lines = enumerate(block.text.splitlines(), block.line)
        return [Step(_command_of_cron_line(line), None, number) for number, line in lines]
    if block.language == "console":
        return [Step(command.text, command.output, command.line) for command in commands(block)]
    return []


def _command_of_cron_line(line: str) -> str:
    """What cron would hand to the shell."""
    entry = re.fullmatch(r"(?:[\d*/,-]+\s+){5}([^%]+)", line)
    assert entry is not None, f"not a crontab line: {line}"
    return f"({entry[1]})"


def _run(steps: Sequence[Step], home: Path, timeout: float) -> list[Outcome]:
    script = "".join(
        f"printf '{_MARK}{number}\\n'\n{step.text}\nprintf '{_MARK}=%d\\n' \"$?\"\n"
        for number, step in enumerate(steps)
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    output = home.with_name(f"{home.name}.output")
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environment(PATH=path, HOME=str(home), XDG_STATE_HOME=str(home / ".state"), TZ="UTC", LC_ALL="C.UTF-8"),
            start_new_session=True,
        )
        begun, deadline = 0, time.monotonic() + timeout
        while not _has_ended(shell):
            if (now_begun := output.read_bytes().count(_MARK.encode())) != begun:
                begun, deadline = now_begun, time.monotonic() + timeout
            elif time.monotonic() > deadline:  # the step that hangs has no status, which names it
                os.killpg(shell.pid, signal.SIGKILL)
    text = output.read_text("utf-8", "replace").replace(str(home), HOME)
    found = [Outcome("", None)] * len(steps)
    for match in re.finditer(rf"{_MARK}(\d+)\n([^{_MARK}]*)(?:{_MARK}=(\d+)\n)?", text):
        found[int(match[1])] = Outcome(match[2], None if match[3] is None else int(match[3]))
    return found


def _has_ended(shell: subprocess.Popen[bytes]) -> bool:
    """Whether it has, or does soon."""
    with suppress(subprocess.TimeoutExpired):
        shell.wait(0.5)
    return shell.returncode is not None


def _stop_workers(home: Path) -> list[str]:
    """Stop the workers that the document has left running; their names."""
    left = []
    for root, _, _ in os.walk(home):
        if is_spool(root):
            for worker in Spool(root).workers():
                if worker["alive"]:
                    left.append(worker["worker"])
                    for _ in range(2):
                        with suppress(ProcessLookupError):
                            os.kill(worker["pid"], signal.SIGTERM)
    return left
