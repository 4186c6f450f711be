"""Slurm, by its commands: `sbatch`, `squeue` and `scancel`. Nothing else here knows Slurm.

What they say is evidence, not proof: a job may live that Slurm has given up, and a controller that does not answer says
nothing at all. No accounting is needed. Seen with Slurm 22.05.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from typing import NamedTuple

from queuectl.errors import SpoolError

_PATIENCE = 40.0  # seconds; a controller that is down makes the commands give up after 18
_FORMAT = "%i|%T|%r|%N|%L"
_QUEUED = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
_RUNNING = ("RUNNING", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT")
_NOTICE = 60  # seconds before the time limit at which the batch shell gets SIGTERM


_CARDS = re.compile(r"(?:--gres=(?:\S*,)?gpu|--gpus(?:-per-(?:node|task))?=|-G)(?::?[A-Za-z]\w*)?[:=]?(\d+)?")


def count_cards(options: Sequence[str]) -> int:
    """How many cards a job with these options of `sbatch` gets."""
    found = _CARDS.search(
        " ".join(options).replace("--gres gpu", "--gres=gpu").replace("--gpus ", "--gpus=").replace("-G ", "-G")
    )
    return 0 if found is None else int(found[1] or 1)


class BatchError(Exception):
    """A command of Slurm has failed; the text is what it said. What became of what was asked for is not known."""


class BatchJob(NamedTuple):
    """One job of Slurm: `state` is `queued`, `running`, `ending` or `ended`, `word` is Slurm's own for it, with its
    reason, and `left` the seconds until its time limit, None where there is none or that is not known."""

    id: str
    state: str
    word: str
    node: str
    left: float | None


class Slurm:
    """The jobs of this user that have one name."""

    def __init__(self, name: str, count: int, seconds: float | None, options: Sequence[str]) -> None:
        """Each has `count` processors and that time limit, unless the options of `sbatch` say otherwise.

        Raises SpoolError if Slurm is not installed.
        """
        missing = [program for program in ("sbatch", "squeue", "scancel") if shutil.which(program) is None]
        if missing:
            raise SpoolError(
                "Slurm is not installed", f"no {missing[0]}", "start this on a host from which jobs can be submitted"
            )
        self.name = name
        self.cards = count_cards(options)
        minutes = None if seconds is None else max(1, math.ceil(seconds / 60))
        self.seconds = None if minutes is None else minutes * 60.0
        """The time limit, which Slurm counts in whole minutes."""
        notice = _NOTICE if self.seconds is None else min(_NOTICE, int(self.seconds / 4))
        self._submit = [
            "sbatch", "--parsable", f"--job-name={name}", "--no-requeue", f"--signal=B:TERM@{notice}",
            "--nodes=1", "--ntasks=1", f"--cpus-per-task={count}", "--chdir=/", "--output=/dev/null",
            *([f"--time={minutes}"] if minutes is not None else []),
            *options,
        ]  # fmt: skip

    def submit(self, script: str) -> str:
        """The id of another job that runs this script; raises BatchError."""
        said = _run(self._submit, script)
        found = re.match(r"\d+", said.strip().splitlines()[-1] if said.strip() else "")
        if found is None:
            raise BatchError(f"sbatch printed no job id: {said.strip()!r}")
        return found[0]

    def look(self) -> dict[str, BatchJob]:
        """All that Slurm remembers, by id; raises BatchError. One that is left out has ended some time ago."""
        said = _run(["squeue", "-h", "-t", "all", "-u", str(os.getuid()), "-n", self.name, "-o", _FORMAT])
        rows = (line.split("|") for line in said.splitlines())
        return {row[0]: _parse(row) for row in rows if len(row) == 5}

    def cancel_queued(self, ids: Collection[str]) -> None:
        """Cancel those that have not begun; raises BatchError."""
        _run(["scancel", "-Q", "-t", "PENDING", *ids])

    def stop(self, ids: Collection[str]) -> None:
        """Have those that run end by themselves: only their batch shell gets a signal, not the jobs below it."""
        _run(["scancel", "-Q", "-b", "-s", "TERM", *ids])

    def kill(self, ids: Collection[str]) -> None:
        """Cancel them with all that runs there."""
        _run(["scancel", "-Q", *ids])


def seconds_left(id: str, patience: float) -> float | None:
    """Seconds until the time limit of a job of Slurm; None if there is none, or Slurm does not say so in time."""
    try:
        return _parse_left(_run(["squeue", "-h", "-j", id, "-o", "%L"], patience=patience).strip())
    except BatchError:
        return None


def _run(words: Sequence[str], text: str = "", patience: float = _PATIENCE) -> str:
    try:
        done = subprocess.run(
            words, check=False, input=text, capture_output=True, text=True, errors="replace", timeout=patience
        )
    except subprocess.TimeoutExpired:
        raise BatchError(f"{words[0]} has not answered for {patience:g} seconds") from None
    except OSError as error:
        raise BatchError(f"cannot run {words[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        raise BatchError(said.splitlines()[-1].removeprefix(f"{words[0]}: error: "))
    return done.stdout


def _parse(row: Sequence[str]) -> BatchJob:
    id, word, reason, node, left = row
    state = "ended"
    if word in _QUEUED:
        state = "queued"
    elif word in _RUNNING:
        state = "running"
    elif word == "COMPLETING":
        state = "ending"
    full = word if reason in ("None", "", word) else f"{word}, {reason}"
    return BatchJob(id, state, full, node, _parse_left(left))


def _parse_left(text: str) -> float | None:
    """`D-HH:MM:SS`, or what it is shortened to; None for UNLIMITED, NOT_SET and INVALID."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
