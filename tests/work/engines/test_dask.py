"""Jobs on a real Dask cluster: the same results, logs and limits as on one machine, and what each death leaves."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed.security import Security

from queuectl import Spool
from queuectl.core.result import State
from queuectl.work.engines import dask_cluster
from tests.support import CommandLine, WorkerProcess, names, wait_for
from tests.work.engines.clusters import Cluster, marked

SLOW = 60.0
"""Seconds within which what takes Dask a second comes true on a busy machine."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two workers with two threads each, which no test kills."""
    cluster = Cluster(tmp_path_factory.mktemp("dask"))
    cluster.add_worker()
    cluster.add_worker()
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without workers, for one test."""
    cluster = Cluster(tmp_path / "dask")
    yield cluster
    cluster.close()


def bridge(spool: Spool, cluster: Cluster, *words: str) -> WorkerProcess:
    """A worker on that cluster, once it takes jobs."""
    worker = WorkerProcess(Path(spool.path), "--on", cluster.address, *words)
    wait_for(lambda: worker.has("worker") or worker.process.poll() is not None, "the bridge's start", SLOW)
    return worker


def wait_done(spool: Spool, *ids: str) -> None:
    wait_for(lambda: all(spool.get(id).state in (State.DONE, State.DEAD) for id in ids), f"the end of {ids}", SLOW)


def test_jobs_on_dask_end_as_on_one_machine(cli: CommandLine, spool: Spool, shared: Cluster) -> None:
    """Exit codes, output, environment, directory, timeout and size are those of a worker of this machine."""
    for number in range(20):
        spool.enqueue(f"echo out {number}; echo err >&2; exit {number % 3}", id=f"x{number}", max_retries=0)
    spool.enqueue(["printf", "%s|", "a b", "$HOME", "ü"], id="words")
    spool.enqueue(
        "pwd; echo $LANGUAGE $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT", id="env", cwd="/usr", env={"LANGUAGE": "xx"}
    )
    spool.enqueue("true", id="nowhere", cwd="/does/not/exist", max_retries=0)
    spool.enqueue("sleep 3131 & sleep 3131", id="late", timeout=0.5, max_retries=0)
    cli.ok("group", "set", "slow", "timeout=0.5")
    spool.enqueue("sleep 3131", id="slow.x", max_retries=0)
    spool.enqueue("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end", id="large")
    spool.enqueue("kill -9 $$", id="killed", max_retries=0)
    spool.enqueue("test $QUEUECTL_ATTEMPT = 2", id="twice", max_retries=1, backoff_base=0)
    worker = bridge(spool, shared, "--drain")
    assert worker.wait_exit(SLOW) == 0
    for number in range(20):
        assert str(spool.get(f"x{number}").result) == f"exit{number % 3}"
        assert cli.ok("logs", f"x{number}").splitlines() == [f"out {number}", "err"]
    assert cli.ok("logs", "words") == "a b|$HOME|ü|"
    assert cli.ok("logs", "env").splitlines() == ["/usr", "xx env 1"]
    assert str(spool.get("nowhere").result) == "exit126"
    assert "/does/not/exist" in cli.ok("logs", "nowhere")
    assert str(spool.get("late").result) == "timeout"
    assert str(spool.get("slow.x").result) == "timeout"
    assert str(spool.get("killed").result) == "signal9"
    assert spool.get("twice").attempts == 2
    assert cli.ok("logs", "large") == "x" * 3000000 + "\nend"
    assert not marked("sleep\0003131")


def test_output_of_a_job_on_dask_is_seen_while_it_runs(
    cli: CommandLine, spool: Spool, shared: Cluster, tmp_path: Path
) -> None:
    """What it prints is in its log before it ends, in order, and within its limit."""
    go = tmp_path / "go"
    spool.enqueue(f"echo first; while [ ! -e {go} ]; do sleep 0.05; done; echo last", id="live")
    spool.enqueue(
        f"yes | head -c 2000000; while [ ! -e {go} ]; do sleep 0.05; done; echo end", id="capped", max_log=65536
    )
    worker = bridge(spool, shared, "--drain")
    wait_for(lambda: "first" in cli.run("logs", "live").stdout, "the output", SLOW)
    assert spool.get("live").state is State.RUNNING
    log = Path(spool.path) / "logs" / "capped.log"
    wait_for(lambda: log.stat().st_size > 2000000 and log.stat().st_blocks * 512 < 200000, "the limit", SLOW)
    go.touch()
    assert worker.wait_exit(SLOW) == 0
    assert cli.ok("logs", "live").splitlines() == ["first", "last"]
    assert cli.ok("logs", "capped").endswith("y\nend")


def test_job_on_dask_is_cancelled_with_all_its_processes(cli: CommandLine, spool: Spool, shared: Cluster) -> None:
    """Cancel is acknowledged when nothing of the job lives; a second stop gives jobs back, and no attempt counts."""
    for id in ("gone", "kept"):
        spool.enqueue("trap '' TERM; setsid sleep 3232 & sleep 3232", id=id)
    cli.ok("config", "set", "grace", "1")
    worker = bridge(spool, shared)
    wait_for(lambda: len(marked("sleep\0003232")) == 4, "the start of both", SLOW)
    cli.ok("cancel", "gone")
    assert str(spool.get("gone").result) == "cancelled"
    assert len(marked("sleep\0003232")) == 2
    worker.process.send_signal(signal.SIGQUIT)
    assert worker.wait_exit(SLOW) == 0
    assert (spool.get("kept").state, spool.get("kept").attempts) == (State.PENDING, 0)
    assert not marked("sleep\0003232")


def test_death_of_a_dask_worker_is_seen(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """Its jobs are lost and end with it: kept from running again if they say so, else they run again elsewhere."""
    ledger = tmp_path / "ledger"
    first = cluster.add_worker()
    spool.enqueue(f"echo a >>{ledger}; setsid sleep 3333", id="again", backoff_base=0)
    spool.enqueue("sleep 3333", id="never", on_lost="dead")
    worker = bridge(spool, cluster)
    wait_for(lambda: len(marked("sleep\0003333")) >= 2, "the start", SLOW)
    first.kill()
    wait_for(lambda: not marked("sleep\0003333"), "the end of its jobs")
    wait_done(spool, "never")
    assert str(spool.get("never").result) == "lost"
    assert "is gone" in (Path(spool.path) / "logs" / "never.log").read_text()
    second = cluster.add_worker()
    wait_for(lambda: len(ledger.read_text().splitlines()) == 2, "the second attempt", SLOW)
    wait_for(lambda: len(marked("sleep\0003333")) >= 1, "the start", SLOW)
    second.send_signal(signal.SIGTERM)
    wait_for(lambda: worker.has("released", "again"), "the release", SLOW)
    assert spool.get("again").attempts == 1
    assert not marked("sleep\0003333")


def test_dask_worker_that_is_retired_gives_its_jobs_back(spool: Spool, cluster: Cluster) -> None:
    """Although the scheduler has removed it by then; no attempt counts."""
    cluster.add_worker(1, "--lifetime", "5s")
    spool.enqueue("sleep 3636", id="x")
    worker = bridge(spool, cluster)
    wait_for(lambda: worker.has("released", "x"), "the release", SLOW)
    assert not worker.has("lost")
    assert not marked("sleep\0003636")
    assert (spool.get("x").state, spool.get("x").attempts) == (State.PENDING, 0)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit(SLOW) == 0


def test_dask_worker_that_is_frozen_for_a_while_loses_nothing(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """Other jobs run elsewhere in the meantime, and its own ends as if nothing had been."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    first = cluster.add_worker(1)
    spool.enqueue(f"echo x >>{ledger}; while [ ! -e {go} ]; do sleep 0.05; done; exit 3", id="x", max_retries=0)
    worker = bridge(spool, cluster)
    wait_for(ledger.exists, "the start", SLOW)
    first.send_signal(signal.SIGSTOP)
    cluster.add_worker(1)
    spool.enqueue("true", id="y")
    wait_done(spool, "y")
    go.touch()
    assert spool.get("x").state is State.RUNNING
    first.send_signal(signal.SIGCONT)
    wait_done(spool, "x")
    assert (str(spool.get("x").result), ledger.read_text()) == ("exit3", "x\n")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit(SLOW) == 0


def test_death_of_a_bridge_ends_no_job(cli: CommandLine, spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """The next bridge takes over what runs and what has ended in the meantime; a local worker leaves both alone."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    cluster.add_worker(3)
    for id in ("quick", "slow"):
        script = f"echo {id} >>{ledger}; echo begun; while [ ! -e {go}-{id} ]; do sleep 0.05; done; echo over; exit 7"
        spool.enqueue(script, id=id, max_retries=0)
    first = bridge(spool, cluster)
    wait_for(lambda: ledger.exists() and len(ledger.read_text().splitlines()) == 2, "the start", SLOW)
    first.kill()
    Path(f"{go}-quick").touch()
    local = WorkerProcess(Path(spool.path), "--idle-exit", "1").wait_ready()
    assert local.wait_exit(SLOW) == 0
    assert len(names(Path(spool.path) / "running")) == 2
    second = bridge(spool, cluster)
    wait_done(spool, "quick")
    assert second.has("adopted", "slow")
    Path(f"{go}-slow").touch()
    wait_done(spool, "slow")
    for id in ("quick", "slow"):
        assert str(spool.get(id).result) == "exit7"
        assert cli.ok("logs", id).splitlines() == ["begun", "over"]
    assert sorted(ledger.read_text().split()) == ["quick", "slow"]
    second.process.send_signal(signal.SIGTERM)
    assert second.wait_exit(SLOW) == 0


def test_job_of_a_dead_bridge_is_cancelled(cli: CommandLine, spool: Spool, cluster: Cluster) -> None:
    """It is not said to have ended until that is known; the next bridge ends what was taken out of running/ by hand."""
    cluster.add_worker()
    cli.ok("config", "set", "grace", "0.5")
    spool.enqueue("sleep 3434", id="x")
    spool.enqueue("sleep 3535", id="y")
    first = bridge(spool, cluster)
    wait_for(lambda: marked("sleep\0003434") and marked("sleep\0003535"), "the start", SLOW)
    first.kill()
    assert "it is not known yet whether it has ended" in cli.run("cancel", "x").stderr
    (left,) = names(Path(spool.path) / "running")
    (Path(spool.path) / "running" / left).unlink()
    second = bridge(spool, cluster)
    wait_for(lambda: not marked("sleep\0003434") and not marked("sleep\0003535"), "the end", SLOW)
    second.process.send_signal(signal.SIGTERM)
    assert second.wait_exit(SLOW) == 0


def test_death_of_the_dask_scheduler_loses_nothing(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """Its workers end their jobs; the bridge waits for another, and then they run again."""
    go = tmp_path / "go"
    cluster.add_worker()
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.0505; done", id="x", backoff_base=0)
    worker = bridge(spool, cluster)
    wait_for(lambda: marked("while [ ! -e"), "the start", SLOW)
    cluster.restart_scheduler()
    wait_for(lambda: not marked(f"while [ ! -e {go}"), "the end of its jobs", SLOW)
    go.touch()
    cluster.add_worker()
    wait_done(spool, "x")
    assert str(spool.get("x").result) == "exit0"
    assert spool.get("x").attempts in (1, 2)  # 1 if the other scheduler was there in time to hear of the release
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit(SLOW) == 0


def test_connection_that_dask_has_made_again_is_another_one(cluster: Cluster) -> None:
    """It hears of nothing that is said on the topics of the first one, and its tasks are cancelled."""
    connection = dask_cluster.Cluster(cluster.address)
    assert connection.is_connected
    cluster.restart_scheduler()
    wait_for(lambda: not connection.is_connected, "the loss", SLOW)
    wait_for(lambda: connection._client.status == "running", "Dask's own connection", SLOW)
    assert not connection.is_connected
    with pytest.raises(OSError, match="the connection is lost"):
        connection.require()
    connection.close(patience=1)


def test_bridge_without_a_scheduler_can_be_stopped(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """It leaves what it cannot know to the next one, which settles it when there is a scheduler again."""
    ledger = tmp_path / "ledger"
    cluster.add_worker()
    spool.enqueue(f"echo x >>{ledger}; exec sleep 3737", id="x", on_lost="dead")
    first = bridge(spool, cluster)
    wait_for(ledger.exists, "the start", SLOW)
    cluster.scheduler.kill()
    cluster.scheduler.wait()
    wait_for(lambda: not marked("sleep\0003737"), "the end of its jobs", SLOW)
    wait_for(lambda: first.has("warning"), "the report", SLOW)
    first.process.send_signal(signal.SIGQUIT)
    assert first.wait_exit(SLOW) == 0
    assert len(names(Path(spool.path) / "running")) == 1
    cluster.restart_scheduler()
    second = bridge(spool, cluster)
    wait_done(spool, "x")
    assert (str(spool.get("x").result), ledger.read_text()) == ("lost", "x\n")
    second.process.send_signal(signal.SIGTERM)
    assert second.wait_exit(SLOW) == 0


def test_place_of_an_engine_that_does_not_answer_is_reported(cli: CommandLine, tmp_path: Path) -> None:
    """Without a scheduler there, the worker says so and what to type."""
    done = cli.run("worker", "start", "--on", str(tmp_path / "none.json"))
    assert (done.returncode, "there is no scheduler file" in done.stderr) == (6, True)
    done = cli.run("worker", "start", "--on", "fast")
    assert (done.returncode, "unknown engine: 'fast'" in done.stderr) == (2, True)


def test_scheduler_that_is_frozen_for_a_while_loses_nothing(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """No job is started, ended or lost in the meantime; then all goes on as if nothing had been."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    cluster.add_worker()
    spool.enqueue(f"echo x >>{ledger}; while [ ! -e {go} ]; do sleep 0.05; done; exit 3", id="x", max_retries=0)
    worker = bridge(spool, cluster)
    wait_for(ledger.exists, "the start", SLOW)
    cluster.scheduler.send_signal(signal.SIGSTOP)
    wait_for(lambda: worker.has("warning"), "the report that it does not answer", SLOW)
    go.touch()
    assert spool.get("x").state is State.RUNNING
    cluster.scheduler.send_signal(signal.SIGCONT)
    wait_done(spool, "x")
    assert (str(spool.get("x").result), ledger.read_text()) == ("exit3", "x\n")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit(SLOW) == 0


def test_bridge_that_is_frozen_for_a_while_loses_nothing(spool: Spool, shared: Cluster, tmp_path: Path) -> None:
    """Another one leaves its jobs alone, for it lives, and runs others; then it settles what has ended."""
    ledger = tmp_path / "ledger"
    spool.enqueue(f"echo x >>{ledger}; sleep 1; echo said; exit 3", id="x", max_retries=0)
    first = bridge(spool, shared)
    wait_for(ledger.exists, "the start", SLOW)
    first.process.send_signal(signal.SIGSTOP)
    second = bridge(spool, shared)
    spool.enqueue("true", id="y")
    wait_done(spool, "y")
    assert spool.get("x").state is State.RUNNING
    assert not second.has("adopted")
    first.process.send_signal(signal.SIGCONT)
    wait_done(spool, "x")
    assert (str(spool.get("x").result), ledger.read_text()) == ("exit3", "x\n")
    assert "said" in (Path(spool.path) / "logs" / "x.log").read_text()
    for worker in (first, second):
        worker.process.send_signal(signal.SIGTERM)
    assert [worker.wait_exit(SLOW) for worker in (first, second)] == [0, 0]


def test_bridges_share_a_cluster(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """Two that meet a Dask worker at once both use it, and each job runs once."""
    ledger = tmp_path / "ledger"
    for number in range(40):
        spool.enqueue(f"echo {number} >>{ledger}", id=f"x{number}")
    both = [bridge(spool, cluster, "--drain") for _ in range(2)]
    cluster.add_worker()
    assert [worker.wait_exit(SLOW) for worker in both] == [0, 0]
    assert sorted(map(int, ledger.read_text().split())) == [*range(40)]
    assert not any(worker.has("warning") for worker in both)


def test_priorities_are_kept_on_dask(spool: Spool, cluster: Cluster, tmp_path: Path) -> None:
    """While jobs take long enough that none is sent ahead, the next to start is the first of those that wait."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    cluster.add_worker(1)
    spool.enqueue(f"sleep 0.4; while [ ! -e {go} ]; do sleep 0.05; done", id="first", priority=0)
    worker = bridge(spool, cluster, "--drain")
    wait_for(lambda: worker.has("start", "first"), "the start", SLOW)
    for number in (5, 3, 9, 1):
        spool.enqueue(f"echo {number} >>{ledger}; sleep 0.4", id=f"p{number}", priority=number)
    go.touch()
    assert worker.wait_exit(SLOW) == 0
    assert ledger.read_text().split() == ["1", "3", "5", "9"]


def test_short_jobs_are_sent_ahead_if_count_is_that_of_the_threads(
    spool: Spool, shared: Cluster, tmp_path: Path
) -> None:
    """So a Dask worker need not wait for the bridge between two jobs; only a smaller `--count` forbids that."""
    go = tmp_path / "go"
    worker = bridge(spool, shared, "--count", "4")
    wait_done(spool, *[spool.enqueue("true").id for _ in range(8)])
    for _ in range(12):
        spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.05; done")
    wait_for(lambda: len(names(spool.path / "running")) > 4, "jobs beyond the threads", SLOW)
    go.touch()
    worker.process.terminate()
    assert worker.wait_exit(SLOW) == 0


def test_cluster_with_tls_is_used_as_dask_is_configured(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Dask's own settings, here in the environment; without them there is no connection."""
    made = Security.temporary()  # type: ignore[no-untyped-call]
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True")
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", made.tls_ca_file)
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY", made.tls_client_key)
        monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT", made.tls_client_cert)
    cluster = Cluster(tmp_path / "dask", "tls")
    try:
        cluster.add_worker()
        spool.enqueue("echo said", id="x")
        worker = WorkerProcess(Path(spool.path), "--on", str(cluster.file), "--drain")
        assert worker.wait_exit(SLOW) == 0
        assert str(spool.get("x").result) == "exit0"
    finally:
        cluster.close()


def test_example_of_a_local_cluster_is_one(spool: Spool, tmp_path: Path) -> None:
    """The program of docs/engines.md, at another port: two Dask workers of two threads, until Enter is pressed."""
    text = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
    program = text.partition("```python file=cluster.py\n")[2].partition("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "cluster.py").write_text(program.replace("8786", str(port)))
    with subprocess.Popen([sys.executable, "cluster.py"], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as cluster:  # fmt: skip
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        cluster.stdout.readline()
        spool.enqueue("exit 3", id="x", max_retries=0)
        worker = WorkerProcess(Path(spool.path), "--on", f"tcp://localhost:{port}", "--drain")
        assert worker.wait_exit(SLOW) == 0, worker.report.read_text()
        cluster.stdin.close()
    assert str(spool.get("x").result) == "exit3"
