"""Jobs that wait for others, on the command line, and with a real worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from queuectl import Spool
from tests.support import CommandLine, WorkerProcess, wait_for


def lines(*bodies: dict[str, object]) -> str:
    return "".join(json.dumps(body) + "\n" for body in bodies)


def test_lines_may_name_each_other_in_any_order(cli: CommandLine, spool: Spool) -> None:
    """A line that names a later one is kept until the end; a group means its jobs of this input too; circles are
    errors."""
    text = lines(
        {"id": "sum", "command": "true", "after": ["part."]},
        {"id": "last", "command": "true", "after": ["sum"]},
        {"id": "part.1", "command": "true"},
        {"id": "one", "command": "true", "after": ["two"]},
        {"id": "two", "command": "true", "after": ["one"]},
        {"id": "part.2", "command": "true"},
    )
    done = cli.run("enqueue", "-", stdin=text)
    assert done.returncode == 1
    assert done.stdout.split() == ["part.1", "part.2", "sum", "last"]
    assert "line 4: one would wait for itself" in done.stderr
    assert sorted(path.name for path in Path(spool.layout.after).iterdir()) == ["part.1", "part.2", "sum"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-a", "nobody"), 3),
        (("--after", "nobody."), 3),
        (("--after", "a", "--after-end", "a"), 2),
        (("--after", "a b"), 2),
        (("--id", "x", "--after", "x"), 3),
    ],
)
def test_wrong_reference_is_refused(cli: CommandLine, spool: Spool, words: tuple[str, ...], code: int) -> None:
    """What is not there is 3, what is no reference 2; nothing is queued."""
    spool.enqueue("true", id="a")
    assert cli.run("enqueue", *words, "--", "true").returncode == code
    assert spool.counts().pending == 1


def test_several_without_commas_and_a_group_without_its_dot_are_answered(cli: CommandLine, spool: Spool) -> None:
    """With the line to type, and nothing is queued."""
    for id in ("a", "b", "lr.1"):
        spool.enqueue("true", id=id)
    assert "try: queuectl enqueue --after a,b -- true" in cli.run("enqueue", "--after", "a", "b", "--", "true").stderr
    assert "all of them: lr. with the dot" in cli.run("enqueue", "--after", "lr", "--", "true").stderr
    refused = cli.run("enqueue", "-", stdin=lines({"command": "true", "after": "lr"}))
    assert "name it with its dot: lr." in refused.stderr
    assert spool.counts().pending == 3


def test_pipeline_runs_in_order_and_says_what_is_skipped(cli: CommandLine, spool: Spool) -> None:
    """A failure skips what needs it and runs the clean-up; its retry brings back the rest, in order."""
    trace = spool.path.parent / "trace"
    for id, *words in (
        ("fetch",), ("split", "-a", "fetch"), ("load", "-a", "split"), ("clean", "--after-end", "load"),
        ("alarm", "--after-failed", "split,fetch"),
    ):  # fmt: skip
        code = "test -e ok" if id == "split" else "true"
        command = f"echo {id} $QUEUECTL_AFTER >> {trace}; {code}"
        cli.ok("enqueue", "--id", id, "--max-retries", "0", *words, "--", command)
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert trace.read_text().splitlines() == ["fetch", "split fetch", "alarm split fetch", "clean load"]
    assert "it was skipped: it waits for split, which is dead (exit1)" in cli.ok("explain", "load")
    assert cli.json("metrics")["skipped"] == 1
    counts = cli.json("status")["counts"]
    assert (counts["dead"], counts["skipped_dead"], counts["skipped_done"]) == (2, 1, 0)
    assert "1 of them skipped; see: queuectl dlq list" in cli.ok("status")
    assert "--result failed" in cli.run("dlq", "list").stderr
    assert cli.run("wait", "load").returncode == 1
    assert "queuectl retry split load" in cli.run("retry", "load").stderr
    (cli.cwd / "ok").touch()
    assert cli.ok("retry", "load", "split").split() == ["split", "load"]
    assert "load  waiting" in cli.ok("graph", "load")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert [line.split()[0] for line in trace.read_text().splitlines()[4:]] == ["split", "load"]
    assert not [path for path in Path(spool.layout.after).rglob("*") if path.is_file()]


def test_explain_names_the_cause_however_far_above(cli: CommandLine, spool: Spool) -> None:
    """Of a chain and of a group it is what was not skipped itself; the line that is given brings everything back."""
    for id in ("a", "g.1", "g.2"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="b", after=["a", "g."])
    spool.enqueue("true", id="c", after=["b"])
    spool.enqueue("true", id="alarm", after_failed=["c"])
    for id in ("g.2", "a"):
        spool.cancel(id)
    for id in ("b", "c", "alarm"):
        assert "to bring it back: queuectl retry a g.2" in cli.ok("explain", id)
    assert "g.2 is dead (cancelled)" in cli.ok("explain", "b")
    refused = cli.run("retry", "c").stderr
    assert "c was skipped because of a, which is dead (cancelled)" in refused
    assert "retry all of them: queuectl retry a g.2 c" in refused
    assert cli.ok("retry", "a", "g.2", "c").split() == ["a", "g.2", "c"]
    assert spool.counts().waiting == 3


def test_graph_shows_a_group_as_one_line(cli: CommandLine, spool: Spool) -> None:
    """Below what its jobs wait for and above what waits for it; so does --dot, and --json has every job."""
    spool.enqueue("true", id="split")
    for n in range(8):
        spool.enqueue("true", id=f"map.{n}", after=["split"])
        spool.enqueue("true", id=f"many.{n}", after=["split"])
    for n in range(2):
        spool.enqueue("true", id=f"few.{n}", after=["split"])
    spool.enqueue("true", id="sum", after=["map."])
    assert cli.ok("graph").splitlines() == [
        "split  pending",
        "├── few.0  waiting",
        "├── few.1  waiting",
        "├── many.  8 waiting",
        "└── map.  0 of 8 ended",
        "    └── sum  waiting",
    ]
    assert '"split" -> "map." [style=solid];' in cli.ok("graph", "--dot")
    assert len(cli.json("graph")["links"]) == 19
    assert cli.ok("graph", "map.").splitlines()[-1] == "    └── sum  waiting"


@pytest.mark.parametrize("is_backwards", [False, True])
def test_dlq_retry_of_all_brings_back_each_job_once(cli: CommandLine, spool: Spool, is_backwards: bool) -> None:
    """In whatever order they are: what was skipped comes back with its cause, and counts as retried."""
    ids = [f"j{9 - n if is_backwards else n}" for n in range(5)]
    for number, id in enumerate(ids):
        spool.enqueue("true", id=id, after=ids[number - 1 : number])
    spool.cancel(ids[0])
    assert spool.counts().skipped_dead == 4
    done = cli.run("dlq", "retry", "--all")
    assert (done.returncode, sorted(done.stdout.split())) == (0, sorted(ids))
    assert done.stderr.splitlines()[-1] == "5 jobs pending again"
    assert (spool.counts().ready, spool.counts().waiting) == (1, 4)


def test_dropped_files_wait_for_each_other_in_any_order(spool: Spool) -> None:
    """A file that names a job which is not there yet is looked at again until it is."""
    worker = WorkerProcess(spool.path).wait_ready()
    (spool.path / "pending/load.json").write_text('{"id": "load", "command": "true", "after": ["extract"]}')
    (spool.path / "pending/extract.json").write_text('{"id": "extract", "command": "true"}')
    wait_for(lambda: worker.has("done", "load"), "the end of both")


def test_file_moved_back_by_hand_brings_back_what_was_skipped(spool: Spool) -> None:
    """`mv dead/NAME pending/` is a retry for those that wait too."""
    spool.enqueue("test -e ok || exit 1", id="a", max_retries=0, cwd=spool.path.parent)
    spool.enqueue("true", id="b", after=["a"])
    worker = WorkerProcess(spool.path).wait_ready()
    wait_for(lambda: str(spool.get("b").result) == "skipped", "the skip")
    (spool.path.parent / "ok").touch()
    path = Path(spool.get("a").path)
    path.rename(spool.path / "pending" / path.name)
    wait_for(lambda: worker.has("done", "b"), "the end of b")


def test_drop_says_who_waits(cli: CommandLine, spool: Spool) -> None:
    """To delete a job for which others wait names them, and moves them; `prune` leaves it."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="b", after=["a"])
    spool.cancel("a")
    cli.ok("prune", "--keep", "1", "--state", "dead", "--yes")
    assert spool.get("a").id == "a"
    assert "1 job waited for a: b" in cli.run("dlq", "drop", "a").stderr
    assert "which is gone" in cli.ok("explain", "b")
    assert "which is gone" in cli.run("enqueue", "--id", "a", "--", "true").stderr


def test_id_that_others_wait_for_is_taken_by_the_job_that_has_it(cli: CommandLine, spool: Spool) -> None:
    """The error says where that job is."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="b", after=["a"])
    done = cli.run("enqueue", "--id", "a", "--", "true")
    assert (done.returncode, done.stderr.splitlines()[1].strip()) == (4, "that job is pending")
