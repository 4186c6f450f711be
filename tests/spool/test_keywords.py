"""`queuectl` for Python programs: what a type checker accepts, what a call does, and what is refused."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import queuectl
from queuectl import InvalidJobError, Job, NotFoundError, Spool, State, UsageError, WaitTimeoutError
from queuectl.core.fields import CAN_BE_SET, FIELDS
from queuectl.spool import keywords
from tests.support import workers

HEAD = """
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
import queuectl
from queuectl import InvalidJobError, Job, JobBody, QueuectlError, Result, Spool, State
spool = Spool()
"""

RIGHT = """
job: Job = spool.enqueue("echo hi", id="x", priority=1, timeout="10m", run_at="tomorrow 09:00")
spool.enqueue(["cat", b"caf\\xe9", Path("x")], cwd=Path("/"), env={"A": b"1", "B": "2"}, extra={"sweep": 3})
spool.enqueue("x", run_at=datetime.now(timezone.utc), timeout=1.5, retry_on={75}, max_log="10M", on_lost="dead")
spool.enqueue("x", run_at=date(2030, 1, 1), timeout=timedelta(minutes=5), no_retry_on="64-78", backoff_max=None)
bodies = [{"command": f"echo {number}", "priority": 3} for number in range(3)]
for outcome in spool.enqueue_many(bodies):
    if isinstance(outcome, QueuectlError):
        raise outcome
    print(outcome.id)
class Sweep(JobBody, total=False):
    rate: float
checked: list[JobBody] = [{"command": "x", "timeout": "5m"}, Sweep(command="y", rate=0.5)]
list(spool.enqueue_many(checked))
one: Job = spool.wait(job, timeout=60)
several: list[Job] = spool.wait([job, "x"])
result: Result | None = one.result
print(one.state is State.DONE, one.id.upper(), spool.output(job).splitlines(), spool.logs("x")[0].result)
spool.set_fields(job, timeout=None, env={"A": None}, command="y")
"""

WRONG = (
    'spool.enqueue("x", prio=3)',
    'spool.enqueue("x", priority="high")',
    'spool.enqueue("x", timeout=[1])',
    'spool.enqueue("x", on_lost="never")',
    'spool.enqueue("x", max_retries=1.5)',
    "spool.enqueue(3)",
    "spool.enqueue()",
    'spool.enqueue_many(["x"])',
    'body: JobBody = {"command": "x", "prio": 3}',
    'body: JobBody = {"priority": 3}',
    'spool.set_fields("x", id="y")',
    'spool.set_fields("x", mine=1)',
    'spool.wait("x").reslt',
    'spool.wait(["x"]).result',
    'spool.wait("x", timeout="5")',
    "spool.get(3)",
    "spool.enqueu('x')",
    "queuectl.Spol()",
    "from queuectl import Spol",
    "Spool(3)",
    'spool.get("x").state = State.DONE',
    'spool.list("dead")',
    "spool.get('x').count('x')",
)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy --strict says of each program, by its name."""
    home = tmp_path_factory.mktemp("programs")
    programs = {"right": RIGHT, **{f"wrong{number}": text for number, text in enumerate(WRONG)}}
    for name, text in programs.items():
        (home / f"{name}.py").write_text(HEAD + textwrap.dedent(text) + "\n")
    root = Path(queuectl.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, *(f"{name}.py" for name in programs)],
        check=False, capture_output=True, text=True, cwd=home, env={**os.environ, "MYPYPATH": str(root)}, timeout=300,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {name: [line for line in errors if line.startswith(f"{name}.py:")] for name in programs}


def test_right_program_passes_mypy(verdicts: dict[str, list[str]]) -> None:
    """A program that uses what is documented has no error under mypy --strict."""
    assert verdicts["right"] == []


@pytest.mark.parametrize("number", range(len(WRONG)), ids=WRONG)
def test_wrong_program_does_not_pass_mypy(verdicts: dict[str, list[str]], number: int) -> None:
    """A wrong name or type is an error, at that line."""
    assert verdicts[f"wrong{number}"], WRONG[number]


def test_keywords_are_those_of_the_table() -> None:
    """Each field of a job is a keyword of `enqueue`, and of `set_fields` if it can be changed."""
    assert set(get_type_hints(keywords.JobBody)) == set(FIELDS)
    assert set(get_type_hints(keywords.JobChanges)) == {*CAN_BE_SET, "env"}


def test_public_names_are_shown() -> None:
    """`dir` has every public name, and each can be had."""
    assert set(queuectl.__all__) <= set(dir(queuectl))
    assert all(getattr(queuectl, name) is not None for name in queuectl.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Spol'"):
        queuectl.Spol  # type: ignore[attr-defined]  # noqa: B018


# --- values


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"timeout": "10m"}, {"timeout": 600}),
        ({"timeout": timedelta(minutes=1.5)}, {"timeout": 90.0}),
        ({"backoff_max": "1h"}, {"backoff_max": 3600}),
        ({"max_log": "64K"}, {"max_log": 65536}),
        ({"retry_on": "75,64-65"}, {"retry_on": [64, 65, 75]}),
        ({"retry_on": {75}}, {"retry_on": [75]}),
        ({"no_retry_on": range(64, 66)}, {"no_retry_on": [64, 65]}),
        ({"run_at": "2030-01-20"}, {"run_at": "2030-01-20"}),
        ({"run_at": datetime(2030, 1, 20, tzinfo=UTC)}, {"run_at": "2030-01-20T00:00:00.000Z"}),
        ({"cwd": Path("/srv")}, {"cwd": "/srv"}),
        ({"cwd": b"/caf\xe9"}, {"cwd": "/caf\xe9", "charset": "latin-1"}),
        ({"env": {"A": b"\xe9", b"B": "é"}}, {"env": {"A": "\xe9", "B": "Ã©"}, "charset": "latin-1"}),
        ({"timeout": None, "env": None}, {}),
    ],
)  # fmt: skip
def test_values_of_python(spool: Spool, given: dict[str, Any], written: dict[str, Any]) -> None:
    """Dates, durations, sets, paths, bytes, and text as on the command line become what a body has."""
    job = spool.enqueue("true", id="x", **given)
    whole = {"command": "true", "id": "x", "cwd": os.getcwd(), **written}
    assert job.fields == whole
    assert spool.get("x").fields == whole


def test_times_of_python(spool: Spool) -> None:
    """A date is its local midnight, a timedelta is from now, and a text is what --at takes."""
    midnight = datetime(2030, 1, 20).astimezone(UTC)
    assert spool.enqueue("true", run_at=date(2030, 1, 20)).run_at == midnight
    assert spool.enqueue("true", run_at="2030-01-20").run_at == midnight
    for later in (timedelta(hours=1), "1h", "in 60 minutes"):
        run_at = spool.enqueue("true", run_at=later).run_at
        assert run_at is not None
        assert timedelta(minutes=59) < run_at - datetime.now(UTC) <= timedelta(hours=1)


def test_changes_of_python(spool: Spool) -> None:
    """`set_fields` takes the same values, and fields of one's own as `extra`."""
    spool.enqueue("true", id="x", timeout=5)
    job = spool.set_fields("x", timeout="1h", command=[b"\xe9"], run_at=timedelta(days=1), extra={"mine": 1})
    assert job.command == ("\udce9",)
    assert (job.body and job.body.timeout, (job.fields or {})["mine"]) == (3600.0, 1)


# --- what is refused


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prio": 3}, "got an unexpected keyword argument 'prio'; ours is \"priority\""),
        ({"timout": 3}, "got an unexpected keyword argument 'timout'; did you mean 'timeout'?"),
        ({"mine": 3}, "got an unexpected keyword argument 'mine'"),
        ({"priority": "high"}, "priority must be int, not str"),
        ({"priority": True}, "priority must be int, not bool"),
        ({"timeout": [1]}, "timeout must be int or float or str or timedelta, not list"),
        ({"env": "A=1"}, "env must be Mapping, not str"),
        ({"cwd": 5}, "cwd must be str or bytes or PathLike, not int"),
    ],
)  # fmt: skip
def test_wrong_keyword_is_a_type_error(spool: Spool, given: dict[str, Any], said: str) -> None:
    """An unknown keyword, or a value of a wrong type, is a TypeError that names it; nothing is queued."""
    with pytest.raises(TypeError) as caught:
        spool.enqueue("true", **given)
    assert said in str(caught.value)
    assert not list(spool.list())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda spool: spool.enqueue(3), "command must be str or bytes or Sequence, not int"),
        (lambda spool: spool.get(3), "id must be str or Job, not int"),
        (lambda spool: spool.cancel(None), "id must be str or Job, not NoneType"),
        (lambda spool: spool.wait(3), "id must be str or Job or Iterable, not int"),
        (lambda spool: spool.wait("x", timeout="5"), "timeout must be int or float or None, not str"),
        (lambda spool: list(spool.enqueue_many(5)), "jobs must be Iterable, not int"),
        (lambda spool: list(spool.enqueue_many(["true"])), "job must be Mapping, not str"),
        (lambda spool: list(spool.list(limit="5")), "limit must be int or None, not str"),
        (lambda spool: spool.output("x", "1"), "attempt must be int or None, not str"),
        (lambda _: Spool(3), "path must be str or bytes or PathLike, not int"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_wrong_argument_is_a_type_error(spool: Spool, call: Any, said: str) -> None:
    """An argument of a wrong type is a TypeError that names it."""
    spool.enqueue("true", id="x")
    with pytest.raises(TypeError, match=said):
        call(spool)


def test_text_that_is_no_time_is_an_invalid_job(spool: Spool) -> None:
    """It is reported with its field; of many jobs it is that job's error, and the others are queued."""
    with pytest.raises(InvalidJobError, match='"timeout" is not a duration'):
        spool.enqueue("true", timeout="soon")
    outcomes = list(spool.enqueue_many([{"command": "a"}, {"command": "b", "timeout": "soon"}, {"command": "c"}]))
    assert [type(outcome).__name__ for outcome in outcomes] == ["Job", "InvalidJobError", "Job"]


def test_states_of_list(spool: Spool) -> None:
    """One state may be given alone; a word that is none is a UsageError with the states."""
    spool.enqueue("true", id="x")
    assert [job.id for job in spool.list(State.PENDING)] == ["x"]
    with pytest.raises(UsageError, match="not a state: 'failed'") as caught:
        list(spool.list(["failed"]))  # type: ignore[list-item]
    assert caught.value.hint == "states: pending running done dead"


# --- jobs and their output


def test_job_is_a_value_with_names(spool: Spool) -> None:
    """It has what is documented and nothing of a tuple; it does not change; equal ones are equal, copies too."""
    job = spool.enqueue("echo hi", id="x")
    assert not {"count", "index", "_replace"} & set(dir(job))
    with pytest.raises(AttributeError, match="does not change"):
        job.path = "y"  # type: ignore[misc]
    assert {job, spool.get("x"), copy.deepcopy(job), pickle.loads(pickle.dumps(job))} == {job}
    assert repr(job) == "Job(id='x', state='pending', attempts=0, command='echo hi')"
    long = spool.enqueue("echo\n" * 100, id="y")
    assert "\n" not in repr(long)
    assert len(repr(long)) < 160


def test_output_and_logs(spool: Spool) -> None:
    """`output` is what an attempt wrote, by default the last; `logs` has each with its result."""
    job = spool.enqueue(
        "echo attempt $QUEUECTL_ATTEMPT; printf 'caf\\351'; exit 3", max_retries=1, backoff_base=0, id="x"
    )
    assert (spool.output(job), spool.logs("x")) == ("", [])
    with workers(spool.path):
        spool.wait(job, timeout=30)
    assert spool.output("x") == "attempt 2\ncaf\\xe9"
    assert spool.output(job, 1) == "attempt 1\ncaf\\xe9"
    assert [(each.attempt, str(each.result)) for each in spool.logs("x")] == [(1, "exit3"), (2, "exit3")]
    assert all(each.started_at and each.worker for each in spool.logs("x"))
    with pytest.raises(NotFoundError, match="no attempt 3"):
        spool.output("x", 3)
    with pytest.raises(NotFoundError):
        spool.output("nowhere")


def test_wait_of_several(spool: Spool) -> None:
    """They are returned in the order in which they were given, however they end; late ones are a WaitTimeoutError."""
    jobs = [spool.enqueue(f"exit {code}", max_retries=0) for code in (3, 0)]
    with pytest.raises(WaitTimeoutError):
        spool.wait(jobs, timeout=0)
    with workers(spool.path):
        ended = spool.wait([jobs[0], jobs[1].id, jobs[0]], timeout=30)
    assert [str(job.result) for job in ended] == ["exit3", "exit0", "exit3"]
    assert isinstance(spool.wait(jobs[0]), Job)
    assert spool.wait([]) == []


def test_spool_is_found_as_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a path: $QUEUECTL_SPOOL, else spool/ above, else the home's, which is created."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("QUEUECTL_SPOOL", raising=False)
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert (Spool().path, Spool().created) == (tmp_path / "state/queuectl/spool", False)
    Spool("../spool", create=True)
    assert Spool().path == tmp_path / "a/spool"
    monkeypatch.setenv("QUEUECTL_SPOOL", os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9"))
    with pytest.raises(queuectl.SpoolError, match="no spool at"):
        Spool()
    assert Spool(create=True).path == Spool(os.fsencode(tmp_path / "caf") + b"\xe9").path
