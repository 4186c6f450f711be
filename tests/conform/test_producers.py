"""`queuectl conform producer`: good ones pass, and each rule fails for a small script that breaks it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import environment, need

ROOT = Path(__file__).parents[2]


def judge(
    kind: str, script: Path, *words: str, rules: tuple[str, ...] = (), patience: str = "20"
) -> dict[str, dict[str, Any]]:
    """The verdicts on a command, by rule."""
    only = [word for rule in rules for word in ("--rule", rule)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "queuectl",
            "conform",
            kind,
            "--patience",
            patience,
            "--json",
            *only,
            str(script),
            *words,
        ],
        check=False,
        capture_output=True,
        text=True,
        env=environment(SLOTS="3"),
        timeout=120,
    )
    found = {row["rule"]: row for row in json.loads(done.stdout)}
    has_failed = any(row["verdict"] == "failed" for row in found.values())
    assert done.returncode == int(has_failed), done.stderr
    return found


def failed(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    return {rule: row["problems"] for rule, row in found.items() if row["verdict"] == "failed"}


def script(directory: Path, text: str) -> Path:
    path = directory / "script"
    path.write_text(text)
    path.chmod(0o755)
    return path


def submit_of_the_specification() -> str:
    match = re.search(r"```sh file=submit\n(.*?)```", (ROOT / "spool/README.md").read_text(), re.DOTALL)
    assert match is not None
    return match[1]


def test_own_producer_conforms(tmp_path: Path) -> None:
    """`queuectl enqueue` keeps every rule."""
    path = script(tmp_path, f'#!/bin/sh\nexec {sys.executable} -m queuectl enqueue -q -- "$1"\n')
    assert not failed(
        judge("producer", path, rules=("queues", "command", "ids", "synced", "failure", "whole", "repeats"))
    )


def test_producer_of_the_specification_conforms(tmp_path: Path) -> None:
    """The script of ten lines in the specification keeps every rule."""
    need("strace")
    found = judge("producer", script(tmp_path, submit_of_the_specification()))
    assert {row["verdict"] for row in found.values()} == {"ok"}, failed(found)


FAULTS = [
    ("queues", "name.json", 'rm "$spool/tmp/$name"', ":"),
    ("queues", "other ending", '"$spool/pending/$name.json"', '"$spool/pending/$name"'),
    ("command", "no escaping", "s/[\\\\\"]/\\\\&/g", "s/x/x/"),
    ("command", "echo", "printf '%s\\n' \"$*\"", 'echo "$*"'),
    ("ids", "one id", '{"command": "%s"}', '{"id": "mine", "command": "%s"}'),
    ("repeats", "one name", "name=submit-$(date +%s)-$$", "name=submit"),
    ("repeats", "replaces", "ln \"$spool/tmp/$name\" \"$spool/pending/$name.json\"",
     "cp \"$spool/tmp/$name\" \"$spool/pending/submit.json\""),
    ("whole", "in place", "ln \"$spool/tmp/$name\"", "cp \"$spool/tmp/$name\""),
    ("synced", "no sync of the file", 'sync "$spool/tmp/$name" 2> /dev/null || sync', ":"),
    ("synced", "no sync of pending/", 'sync "$spool/pending" 2> /dev/null || sync', ":"),
    ("failure", "says nothing", "set -eu", "set -u; exec 2> /dev/null; trap 'exit 0' 0"),
    ("killed", "in halves", "ln \"$spool/tmp/$name\" \"$spool/pending/$name.json\"",
     "(head -c 9 \"$spool/tmp/$name\"; sleep 0.3; tail -c +10 \"$spool/tmp/$name\") > \"$spool/pending/$name.json\""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "what", "right", "wrong"), FAULTS, ids=[f"{rule}, {what}" for rule, what, *_ in FAULTS]
)
def test_faulty_producer_fails(tmp_path: Path, rule: str, what: str, right: str, wrong: str) -> None:
    """A producer that breaks a rule fails for that rule, and the verdict says how."""
    if rule == "synced":
        need("strace")
    text = submit_of_the_specification()
    assert text.count(right) == 1, what
    assert rule in failed(judge("producer", script(tmp_path, text.replace(right, wrong)), rules=(rule,)))


def test_rule_that_is_unknown_is_refused() -> None:
    """The error names the rules there are."""
    done = subprocess.run(
        [sys.executable, "-m", "queuectl", "conform", "producer", "--rule", "x", "true"],
        check=False, capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2
    assert "rules: queues command" in done.stderr


def test_verdicts_are_lines(tmp_path: Path) -> None:
    """In a terminal each rule is a line, and what is wrong below it; without --json too the exit code says so."""
    shutil.copy("/bin/true", tmp_path / "liar")
    done = subprocess.run(
        [sys.executable, "-m", "queuectl", "conform", "producer", "--rule", "queues", str(tmp_path / "liar")],
        check=False, capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert done.returncode == 1
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("failed   queues ")
    assert "- 'echo plain': exit code 0, and nothing new in the spool" in second
    assert done.stderr == "1 rule: 1 failed\n"
