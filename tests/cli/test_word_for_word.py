"""The lines that people of this tool's family type, word for word, in a real shell."""

from __future__ import annotations

import json
from pathlib import Path

from queuectl import Spool
from tests.cli.given import run_shell

LINES = r"""
queuectl enqueue "{\"id\":\"job-success\",\"command\":\"echo This job was a success!\"}"
queuectl enqueue "{\"id\":\"job-fail\",\"command\":\"badcommand\"}"
queuectl enqueue "{\"id\":\"important_job\",\"command\":\"python process_report.py\",\"priority\":1,\"timeout\":60}"
queuectl enqueue "{\"id\":\"scheduled_job\",\"command\":\"echo Task done\",\"run_at\":\"2025-11-08T14:00:00Z\"}"
queuectl config set max-retries 2
queuectl config set backoff-base 1
""".strip().splitlines()

LOOK = """
queuectl status
queuectl list --state completed
queuectl dlq list
queuectl logs important_job
queuectl metrics
""".strip().splitlines()

START = "queuectl worker start --count 2"


def typed(line: str, cwd: Path) -> str:
    """What a line prints on stdout; it must succeed. Retries do not wait here."""
    done = run_shell(line, cwd, {"QUEUECTL_BACKOFF_MAX": "0"})
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def test_word_for_word(spool: Spool, tmp_path: Path) -> None:
    """The whole session works as typed: submit, run, look, retry."""
    (tmp_path / "python").write_text("#!/bin/sh\necho no report; exit 1\n")
    (tmp_path / "python").chmod(0o755)
    queued = [typed(line, tmp_path) for line in LINES]
    assert queued == ["job-success\n", "job-fail\n", "important_job\n", "scheduled_job\n", "", ""]
    ends = "; ".join(f"queuectl logs -f {line.strip()}" for line in queued if line)
    typed(f"PATH=.:$PATH; {START} & {ends}; queuectl worker stop; wait $!", tmp_path)
    status, completed, dlq, logs, metrics = [typed(line, tmp_path) for line in LOOK]
    assert ["done", "2"] in [line.split()[:2] for line in status.splitlines()]
    assert ["dead", "2"] in [line.split()[:2] for line in status.splitlines()]
    assert {line.split()[0] for line in completed.splitlines()[1:]} == {"job-success", "scheduled_job"}
    assert {tuple(line.split()[:2]) for line in dlq.splitlines()[1:]} == {("job-fail", "3"), ("important_job", "3")}
    assert logs == "no report\n" * 3
    assert "success     50.0%" in metrics.splitlines()
    assert typed("queuectl logs job-success", tmp_path) == "This job was a success!\n"
    assert typed("queuectl dlq retry job-fail", tmp_path) == "job-fail\n"
    assert [job["id"] for job in json.loads(typed("queuectl list --state pending --json", tmp_path))] == ["job-fail"]
    starts = [name for name in spool.log_path("important_job").read_text().splitlines() if "#queuectl start" in name]
    assert len(starts) == 3
