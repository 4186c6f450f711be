"""The job body: complete or not, runnable or not, and everything that is wrong with it at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import body, fields
from queuectl.core.fields import FIELDS, Body, Charset, OnMaxLog
from queuectl.core.foreign import FIELDS_HERE
from queuectl.core.retry import OnLost, RetryPolicy
from queuectl.core.when import parse_when
from queuectl.errors import InvalidJobError, NotJsonError
from tests.spool.malformed import INCOMPLETE, INVALID

SECONDS = fields.MAX_SECONDS
ARGUMENT = fields.MAX_ARGUMENT
YEAR_10K = "9999-12-31T23:59:59Z"

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
objects = st.dictionaries(st.sampled_from(list(FIELDS)) | st.text(), values, max_size=6)

GOOD: tuple[tuple[str, Any, Any], ...] = (
    ("command", "echo hi", "echo hi"),
    ("command", " \n echo hi", " \n echo hi"),
    ("command", "é" * (ARGUMENT // 2), "é" * (ARGUMENT // 2)),
    ("command", ["echo", "hi"], ("echo", "hi")),
    ("command", ["echo", ""], ("echo", "")),
    ("id", None, None),
    ("id", "a", "a"),
    ("id", "0.a_B-c", "0.a_B-c"),
    ("id", "a" * 100, "a" * 100),
    ("priority", None, 10),
    ("priority", 0, 0),
    ("priority", 999, 999),
    ("run_at", None, None),
    ("run_at", "2026-11-25T09:00:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
    ("run_at", "2026-11-25t09:00:00z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
    ("run_at", "2026-11-25T10:00:00+01:00", datetime(2026, 11, 25, 9, tzinfo=UTC)),
    ("run_at", "2026-11-25 09:00:00.250Z", datetime(2026, 11, 25, 9, 0, 0, 250_000, tzinfo=UTC)),
    ("run_at", "2026-11-25T09:00:00.123456789Z", datetime(2026, 11, 25, 9, 0, 0, 123_456, tzinfo=UTC)),
    ("run_at", "2026-11-25T09:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
    ("run_at", "1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ("timeout", None, None),
    ("timeout", 60, 60.0),
    ("timeout", 0.001, 0.001),
    ("timeout", SECONDS, float(SECONDS)),
    ("max_retries", None, None),
    ("max_retries", 0, 0),
    ("max_retries", 999_998, 999_998),
    ("backoff_base", 0, 0.0),
    ("backoff_base", 1.5, 1.5),
    ("backoff_max", 0, 0.0),
    ("backoff_max", SECONDS, float(SECONDS)),
    ("backoff_jitter", 0.5, 0.5),
    ("retry_on", [], frozenset()),
    ("retry_on", [1, 255, 1], frozenset({1, 255})),
    ("no_retry_on", None, None),
    ("no_retry_on", [64], frozenset({64})),
    ("on_lost", "retry", OnLost.RETRY),
    ("on_lost", "dead", OnLost.DEAD),
    ("max_log", 4096, 4096),
    ("on_max_log", "kill", OnMaxLog.KILL),
    ("unique", "report of ü", "report of ü"),
    ("cwd", None, None),
    ("cwd", "/", "/"),
    ("cwd", "/srv/ä b", "/srv/ä b"),
    ("env", None, {}),
    ("env", {}, {}),
    ("env", {"A": "b=c", "B": ""}, {"A": "b=c", "B": ""}),
    ("params", {"lr": "0.1", "n": 3, "deep": {"x": [None]}}, {"lr": "0.1", "n": 3, "deep": {"x": [None]}}),
    ("charset", None, None),
    ("charset", "utf-8", Charset.UTF_8),
    ("charset", "latin-1", Charset.LATIN_1),
)

_OUT_OF_BOUNDS: dict[str, tuple[str, list[Any]]] = {
    "id": ('"id" must be 1 to 100 characters of', ["", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n", "a" * 101, 5, []]),
    "priority": ('"priority" must be a whole number from 0 to 999', [-1, 1000, 1.0, "5", True, []]),
    "run_at": (
        '"run_at" must be a time such as',
        ["", "tomorrow", "2026-13-01", "9999-01-01", 5, YEAR_10K],
    ),
    "timeout": ('"timeout" must be a number above 0 up to', [0, -0.0, -1, "5", False, SECONDS + 1, 10**400, []]),
    "max_retries": ('"max_retries" must be a whole number from 0 to 999998', [-1, 999_999, 1.5, "3", True]),
    "backoff_base": ('"backoff_base" must be a number from 0 up to', [-0.1, "2", True, SECONDS + 1]),
    "backoff_max": ('"backoff_max" must be a number from 0 up to', [-0.1, "2", True, SECONDS + 1]),
    "backoff_jitter": ('"backoff_jitter" must be a number from 0 up to 1', [-0.1, "1", True, 1.1]),
    "retry_on": ('"retry_on" must be an array of exit codes from 1 to 255', [5, "5", [0], [256], [True], [1.0], {}]),
    "no_retry_on": ('"no_retry_on" must be an array of exit codes', [5, ["5"], [-1], [None]]),
    "max_log": ('"max_log" must be a whole number from 4096 to', [0, 4095, 1e6, "64K", True, -1, 1 << 61]),
    "unique": ('"unique" must be a text of 1 to 1000 characters', ["", 5, ["k"], "k" * 1001]),
    "if_exists": ('"if_exists" must be "skip" or "replace" or "fail"', ["", "stop", 0]),
    "on_max_log": ('"on_max_log" must be "drop" or "kill"', ["", "stop", 0, ["kill"]]),
    "on_lost": ('"on_lost" must be "retry" or "dead"', ["", "Dead", True, [], {}]),
    "charset": ('"charset" must be "utf-8" or "latin-1"', ["", "UTF-8", "latin1", 1, ["latin-1"]]),
}
BAD: tuple[tuple[str, Any, str], ...] = (
    ("command", None, '"command" is missing'),
    ("command", "", '"command" is empty'),
    ("command", " \t\n", '"command" is empty'),
    ("command", 5, '"command" must be a string, or an array'),
    ("command", {"a": "b"}, '"command" must be a string, or an array'),
    ("command", [], '"command" must be a string, or an array'),
    ("command", ["a", 5], '"command" must be a string, or an array'),
    ("command", [""], '"command" does not name a program'),
    ("command", "a\0b", '"command" contains a NUL character'),
    ("command", ["a", "\0"], '"command" contains a NUL character'),
    ("command", "a\ud800", '"command" contains half a character'),
    ("command", "é" * (ARGUMENT // 2) + "x", '"command" is longer than'),
    *((field, value, problem) for field, (problem, values) in _OUT_OF_BOUNDS.items() for value in values),
    ("cwd", "", '"cwd" must be an absolute path'),
    ("cwd", "a/b", '"cwd" must be an absolute path'),
    ("cwd", 5, '"cwd" must be an absolute path'),
    ("cwd", "/a\0", '"cwd" contains a NUL character'),
    ("cwd", "/\ud800", '"cwd" contains half a character'),
    ("env", [], '"env" must be an object of strings'),
    ("env", {"A": 1}, '"env" must be an object of strings'),
    ("env", {"A": None}, '"env" must be an object of strings'),
    ("env", {"": "a"}, '"env" has a bad variable name ""'),
    ("env", {"A=B": "a"}, '"env" has a bad variable name "A=B"'),
    ("env", {"A": "\0"}, '"env" contains a NUL character'),
    ("params", ["a"], '"params" must be an object'),
    ("params", {"": "a"}, '"params" must be an object'),
    ("params", {"a": "\0"}, '"params" contains a NUL character'),
    ("env", {"\ud800": "a"}, '"env" contains half a character'),
    ("env", {"A": "x" * (ARGUMENT + 1)}, '"env" is longer than'),
)  # fmt: skip


@pytest.mark.parametrize(("field", "value", "expected"), GOOD)
def test_good_fields(field: str, value: Any, expected: Any) -> None:
    """Each field takes every value up to its limits; null is the same as not given."""
    assert getattr(body.validate({"command": "true", field: value}), field) == expected


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local zone is Berlin's."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "at"),
    [("2026-11-25", "2026-11-24T23:00Z"), ("2026-07-01", "2026-06-30T22:00Z"), ("2026-11-25 9:00", "2026-11-25T08:00Z"),
     (" 2026-11-25 at 9pm ", "2026-11-25T20:00Z"), ("2026-11-25 noon", "2026-11-25T11:00Z"),
     ("2026-11-25T09:00", "2026-11-25T08:00Z"), ("2026-11-25T09:00Z", "2026-11-25T09:00Z"),
     ("2026-03-29 02:30", "2026-03-29T01:30Z")],
)  # fmt: skip
def test_day_is_its_local_midnight(text: str, at: str) -> None:
    """A time to start at is what --at takes, if that means the same whenever it is read; without a zone it is local."""
    assert body.validate({"command": "true", "run_at": text}).run_at == datetime.fromisoformat(at)
    assert parse_when(text, datetime(2020, 1, 1, tzinfo=UTC)) == datetime.fromisoformat(at)


@pytest.mark.parametrize("text", ["tomorrow", "5m", "+1h", "9:00", "monday 8:00"])
def test_time_that_depends_on_when_it_is_read(text: str) -> None:
    """It is refused in a body, and --at is named, which takes it."""
    with pytest.raises(InvalidJobError, match="is for --at"):
        body.validate({"command": "true", "run_at": text})


@pytest.mark.parametrize(("field", "value", "problem"), BAD)
def test_bad_fields(field: str, value: Any, problem: str) -> None:
    """Each field refuses what is wrong for it, and says in which way, and nothing else."""
    with pytest.raises(InvalidJobError) as caught:
        body.validate({"command": "true", field: value})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)


def test_job_of_one_field() -> None:
    """A command is all that a job needs; the rest has its defaults."""
    assert body.parse(b'{"command": "true"}') == Body("true")


def test_problems_are_reported_all_at_once() -> None:
    """One error reports everything that is wrong, in one pass over the fields."""
    wrong = {
        "command": 5, "id": "-", "group": "a.",
        "priority": -1, "run_at": 5, "timeout": 0, "max_retries": -1, "backoff_base": "x",
        "backoff_max": -1, "backoff_jitter": 2, "retry_on": 0, "no_retry_on": "", "on_lost": 1,
        "max_log": 5, "on_max_log": "stop", "seats": {"gpu": -1}, "slots": 0, "unique": "", "if_exists": "x",
        "cwd": "x", "env": 5, "params": [],
        "after": ["a b"], "after_end": {}, "after_failed": ["a", 5], "charset": "x", "submitted_by": "",
    }  # fmt: skip
    assert set(wrong) == set(FIELDS)
    with pytest.raises(InvalidJobError) as caught:
        body.validate(wrong)
    assert sorted(problem.split('"')[1] for problem in caught.value.problems) == sorted(wrong)
    assert caught.value.why == "; ".join(caught.value.problems)


def test_id_with_has_the_group_in_front() -> None:
    """Of the id that was asked for, or of a random one; and together they are an id."""
    assert body.validate({"command": "x", "group": "gpu", "id": "train"}).id_with("r") == "gpu.train"
    assert body.validate({"command": "x", "group": "gpu", "id": "gpu.train"}).id_with("r") == "gpu.train"
    assert body.validate({"command": "x", "group": "gpu"}).id_with("r") == "gpu.r"
    assert body.validate({"command": "x"}).id_with("r") == "r"
    with pytest.raises(InvalidJobError, match="over 100 characters"):
        body.validate({"command": "x", "group": "g" * 80, "id": "i" * 20})


def test_problems_of_one_field_are_all_reported() -> None:
    """Both faults of a field are reported."""
    with pytest.raises(InvalidJobError) as caught:
        body.validate({"command": ["a\0", "\ud800"]})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("key", "meant"),
    [("timout", "timeout"), ("Command", "command"), ("max-retries", "max_retries"), ("maxRetries", "max_retries"),
     ("run-at", "run_at"), ("envs", "env"), ("priorty", "priority")],
)  # fmt: skip
def test_misspelt_fields_earn_a_warning(key: str, meant: str) -> None:
    """An unknown field whose name is close to a known one is kept, and named with what may be meant."""
    found = body.validate({"command": "true", key: 5})
    assert found.warnings == (f'unknown field "{key}" is ignored; did you mean "{meant}"?',)


@pytest.mark.parametrize(
    ("key", "here"),
    [("depends_on", "after_failed"), ("retries", 'ours is "max_retries"'), ("Work-Dir", "cwd"),
     ("environment", 'ours is "env"'), ("delay", "queuectl enqueue --in"), ("cron", "a job runs once"),
     ("name", 'a job is named by its "id"'), ("tags", "nothing looks at it"), ("prio", 'ours is "priority"')],
)  # fmt: skip
def test_field_of_another_tool_earns_a_warning(key: str, here: str) -> None:
    """An unknown field that other tools obey is kept, and named with what says the same here."""
    (warning,) = body.validate({"command": "true", key: 5}).warnings
    assert warning.startswith(f'unknown field "{key}" is ignored; ')
    assert here in warning


@pytest.mark.parametrize("word", FIELDS_HERE)
def test_words_of_other_tools_are_as_they_are_looked_up(word: str) -> None:
    """In lower case, with `_` for `-`."""
    assert word == word.lower().replace("-", "_")


@pytest.mark.parametrize("key", ["owner", "x", "", "ticket", "日本", "a" * 10_000, "\ud800"])
def test_fields_of_the_users_own(key: str) -> None:
    """Any other field is nobody's business."""
    assert body.validate({"command": "true", key: ["anything"]}).warnings == ()


def test_misspelt_command_is_reported_with_the_refusal() -> None:
    """Where a field is missing because its name is misspelt, the error says so."""
    with pytest.raises(InvalidJobError) as caught:
        body.validate({"comand": "true"})
    assert '"command" is missing' in caught.value.why
    assert 'did you mean "command"' in caught.value.hint


def test_policy_is_the_jobs_own_where_given() -> None:
    """Each field of the retry policy is the job's, else the default's; zero is a value."""
    default = RetryPolicy(3, 2.0, 3600.0)
    assert body.validate({"command": "true"}).policy(default) == default
    given_all = {"command": "true", "max_retries": 0, "backoff_base": 0, "backoff_max": 0}
    assert body.validate(given_all).policy(default) == RetryPolicy(0, 0.0, 0.0)
    assert body.validate({"command": "true", "backoff_max": 5}).policy(default) == RetryPolicy(3, 2.0, 5.0)
    lost = {"command": "true", "on_lost": "dead", "backoff_jitter": 0}
    assert body.validate(lost).policy(default) == RetryPolicy(backoff_jitter=0, on_lost=OnLost.DEAD)


def test_exit_codes_of_a_job_replace_those_of_the_settings() -> None:
    """A job that names codes to retry on, or not to, is subject to neither list of the settings."""
    default = RetryPolicy(retry_on={1}, no_retry_on={2}, permanent_codes={100})
    own = body.validate({"command": "true", "retry_on": [2]}).policy(default)
    assert own == RetryPolicy(retry_on={2}, no_retry_on=(), permanent_codes={100})
    own = body.validate({"command": "true", "no_retry_on": [3]}).policy(default)
    assert own == RetryPolicy(retry_on=None, no_retry_on={3}, permanent_codes={100})


@pytest.mark.parametrize("data", INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_incomplete_bytes_may_still_become_a_job(data: bytes) -> None:
    """Bytes that are not exactly one object are NotJsonError: they may still be being written."""
    with pytest.raises(NotJsonError):
        body.parse(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"command": "x', "Unterminated string starting at line 1 column 13"),
        (b'{"command":\n"\n"}', "Invalid control character at line 2 column 2"),
        (b'{"command": "x"', "Expecting ',' delimiter at line 1 column 16"),
        (b'{"command": "x"}\0\0', "there is a NUL byte at byte 16"),
        ('{"command": "x"}'.encode("utf-16"), "it is UTF-16"),
        ('{"command": "x"}'.encode("utf-16-be"), "it is UTF-16BE"),
        ('{"command": "x"}'.encode("utf-32-le"), "it is UTF-32LE"),
        ('{"command": "é"}'.encode("latin-1"), "invalid continuation byte at byte 13"),
    ],
)
def test_json_errors_are_reported_by_their_place(data: bytes, why: str) -> None:
    """In a sentence, by line and column."""
    with pytest.raises(NotJsonError) as caught:
        body.parse(data)
    assert caught.value.why == why


@pytest.mark.parametrize("data", INVALID.values(), ids=INVALID.keys())
def test_objects_that_can_never_be_a_job(data: bytes) -> None:
    """A complete object that cannot run is InvalidJobError, with at least one problem."""
    with pytest.raises(InvalidJobError) as caught:
        body.parse(data)
    assert caught.value.problems


@pytest.mark.parametrize(
    "data",
    [b'\xef\xbb\xbf{"command": "a"}', b' \n{"command": "a"}\r\n\t ', '{"command": "ä"}'.encode(),
     b'{"command": "\\u00e4\\ud83d\\ude00"}', b'{"command":"a","x":[[[]]]}',
     b'{"command":"a"}' + b" " * ((1 << 20) - 15)],
)  # fmt: skip
def test_bytes_that_are_a_job(data: bytes) -> None:
    """A byte order mark, space around, any characters and up to 1 MiB are fine."""
    assert body.parse(data).command


@given(st.data(), objects, st.booleans())
def test_prefix_of_a_body_is_never_complete(data: st.DataObject, value: dict[str, Any], ascii_only: bool) -> None:
    """An object that decodes has been written to its last byte."""
    whole = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(NotJsonError):
        body.decode(whole[:cut])


@given(objects)
def test_object_decodes_to_itself(value: dict[str, Any]) -> None:
    """What was written is what is read."""
    assert body.decode(json.dumps(value).encode()) == value


def parse_or_refuse(data: bytes) -> None:
    with suppress(NotJsonError, InvalidJobError):
        assert body.parse(data).command


@given(st.binary() | st.text().map(str.encode))
def test_bytes_are_a_job_or_an_error_of_ours(data: bytes) -> None:
    """Nothing but NotJsonError and InvalidJobError comes out, whatever goes in."""
    parse_or_refuse(data)


WHOLE = json.dumps(
    {"command": ["echo", "é"], "id": "a1", "priority": 5, "run_at": "2026-11-25T09:00:00Z", "timeout": 1.5,
     "max_retries": 3, "backoff_base": 2, "backoff_max": 60, "retry_on": [75], "on_lost": "dead",
     "cwd": "/tmp", "env": {"A": "b"}, "timout": None}
).encode()  # fmt: skip


@given(st.data())
def test_damaged_job_is_a_job_or_an_error_of_ours(data: st.DataObject) -> None:
    """A good body with some bytes changed, doubled or missing never makes the parser crash."""
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(start, min(len(damaged), start + 6)))
        damaged[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"1e999", b"\\ud800", b"null"])
        )
    parse_or_refuse(bytes(damaged))


@given(objects | st.dictionaries(st.sampled_from(list(FIELDS)), values))
def test_values_are_a_body_or_invalid(value: dict[str, Any]) -> None:
    """Known fields of any JSON type are a body or InvalidJobError; a body's fields are in their bounds."""
    try:
        found = body.validate(value)
    except InvalidJobError:
        return
    assert 0 <= found.priority <= 999
    assert found.timeout is None or 0 < found.timeout <= SECONDS
    assert found.cwd is None or found.cwd.startswith("/")
    assert found.run_at is None or found.run_at.tzinfo is UTC


def test_repeated_keys_are_named() -> None:
    """The error says which keys an object has twice, however deep."""
    with pytest.raises(InvalidJobError) as caught:
        body.decode(b'{"command": "a", "command": "b", "env": {"A": "1", "A": "2"}}')
    assert sorted(caught.value.problems) == ['repeated key "A"', 'repeated key "command"']
