"""The plugin for Snakemake, with the real Snakemake: a diamond, a killed worker, a failure, Ctrl-C.

Each job starts a Snakemake of its own, so the workflow is small here; WIDTH=66 in the environment makes it 200 jobs.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from queuectl import Spool, State
from tests.support import WorkerProcess, environment, wait_for, workers

ROOT = Path(__file__).parents[2]
SNAKEMAKE = ROOT / ".venv-snakemake/bin/snakemake"
WIDTH = int(os.environ.get("WIDTH", "2"))
PATIENCE = 60.0 + 30 * WIDTH

DIAMONDS = """
rule all:
    input: "report.txt"
rule seed:
    output: "seed.txt"
    shell: "echo seed > {output}"
rule left:
    input: "seed.txt"
    output: "left/{i}.txt"
    priority: 5
    shell: "cat {input} > {output}; echo left {wildcards.i} >> {output}"
rule right:
    input: "seed.txt"
    output: "right/{i}.txt"
    threads: 2
    resources: runtime=10
    shell: "sleep 1; cat {input} > {output}; echo right {wildcards.i} >> {output}"
rule join:
    input: "left/{i}.txt", "right/{i}.txt"
    output: "join/{i}.txt"
    shell: "cat {input} > {output}"
rule report:
    input: expand("join/{i}.txt", i=range(int(config["width"])))
    output: "report.txt"
    shell: "cat {input} | wc -l > {output}"
"""


class Workflow:
    """A running Snakemake, in the directory above the spool."""

    def __init__(self, spool: Spool, text: str, *words: str) -> None:
        self.home = spool.path.parent
        (self.home / "Snakefile").write_text(text)
        self.said = self.home / "said"
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                [SNAKEMAKE, "--executor", "queuectl", "--queuectl-spool", spool.path, "--jobs", "500", *words],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(),
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it has said."""
        return self.process.wait(PATIENCE), self.said.read_text()


@pytest.fixture(autouse=True)
def _snakemake() -> None:
    if not SNAKEMAKE.exists():
        text = "no Snakemake: run scripts/snakemake install"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)


def test_workflow_ends_well_although_its_worker_is_killed(spool: Spool) -> None:
    """Each job runs once, in its rule's group, with its priority, slots and timeout, under whichever worker."""
    workflow = Workflow(spool, DIAMONDS, "--config", f"width={WIDTH}")
    first = WorkerProcess(spool.path, "--count", "3").wait_ready()
    wait_for(lambda: any(".right." in job.id for job in spool.list(State.RUNNING)), "the second rule", PATIENCE)
    first.kill()
    with workers(spool.path, 1, "--count", "3"):
        code, said = workflow.end()
    assert code == 0, said
    assert (workflow.home / "report.txt").read_text().strip() == str(4 * WIDTH)
    done = list(spool.list(State.DONE))
    assert len(done) == 3 * WIDTH + 2, said
    assert {(job.attempts, str(job.result)) for job in done} == {(1, "exit0")}
    assert {job.id.rpartition(".")[0] for job in done} == {
        f"snakemake.{rule}" for rule in ("seed", "left", "right", "join", "report")
    }
    left, right = (next(job for job in done if f".{rule}." in job.id) for rule in ("left", "right"))
    assert left.body is not None
    assert right.body is not None
    assert (left.priority, right.priority) == (95, 100)
    assert (left.body.slots, right.body.slots, right.body.timeout) == (None, 2, 600)


def test_failure_is_reported_with_its_log(spool: Spool) -> None:
    """The workflow fails, says how the job ended, and where its output is."""
    with workers(spool.path):
        code, said = Workflow(spool, 'rule bad:\n    output: "x"\n    shell: "echo no disk >&2; exit 3"\n').end()
    (dead,) = spool.list(State.DEAD)
    assert code == 1
    assert f"Job {dead.id} of the queue ended with exit1" in said
    assert str(spool.log_path(dead)) in said
    assert "no disk" in spool.output(dead)


def test_ctrl_c_cancels_what_waits_and_what_runs(spool: Spool) -> None:
    """After it nothing of the workflow is left in the queue, or runs."""
    text = 'rule all:\n    input: "0", "1"\nrule slow:\n    output: "{i,[01]}"\n    shell: "sleep 300"\n'
    workflow = Workflow(spool, text)
    with workers(spool.path):
        wait_for(lambda: spool.counts().running == 1 and spool.counts().ready == 1, "the jobs", PATIENCE)
        (running,) = spool.list(State.RUNNING)
        workflow.process.send_signal(signal.SIGINT)
        code, said = workflow.end()
        assert code == 1, said
        assert "Cancelled 2 jobs in the queue." in said
        assert [str(job.result) for job in spool.list()] == ["cancelled"] * 2
        assert not spool.is_alive(running.id)


def test_killed_workflow_finds_its_jobs_again(spool: Spool) -> None:
    """After `kill -9` of Snakemake its job runs on, and the next Snakemake follows it instead of a second one."""
    text = 'rule slow:\n    output: "x"\n    shell: "until [ -e go ]; do sleep 0.1; done; echo once >> x"\n'
    first = Workflow(spool, text)
    with workers(spool.path):
        wait_for(lambda: spool.counts().running, "the job", PATIENCE)
        wait_for(lambda: list((first.home / ".snakemake/incomplete").glob("*")), "its mark", PATIENCE)
        first.process.kill()
        first.process.wait()
        subprocess.run([SNAKEMAKE, "--unlock"], cwd=first.home, check=True, capture_output=True, env=environment())
        second = Workflow(spool, text)
        wait_for(lambda: "is in the queue already" in second.said.read_text(), "the job to be found", PATIENCE)
        (first.home / "go").touch()
        code, said = second.end()
    assert code == 0, said
    assert (first.home / "x").read_text() == "once\n"
    assert spool.counts().done == 1
