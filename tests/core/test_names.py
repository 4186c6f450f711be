"""File names <-> values: one name for each value, one value for each name, and nothing foreign taken for ours."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import names
from queuectl.core.names import FinishedName, Name, PendingName, RunningName
from queuectl.core.result import Result

NOW = datetime(2026, 11, 24, 3, 43, 0, 120_000, tzinfo=UTC)

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

ids = st.builds(str.__add__, st.sampled_from(LETTERS), st.text(LETTERS + "._-", max_size=99))
priorities = st.integers(0, names.MAX_PRIORITY)
instants = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
workers = st.builds(
    names.format_worker,
    st.text(),
    st.integers(1, 2**31),
    st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=4, max_size=4),
)
results = st.one_of(
    st.integers(0, 255).map(Result.exit),
    st.integers(1, 99).map(Result.signal),
    st.sampled_from(["timeout", "lost", "cancelled", "invalid", "skipped"]).map(Result),
)
pending_names = st.builds(PendingName, priorities, instants, st.integers(0, names.MAX_ATTEMPTS), ids)
running_names = st.builds(RunningName, instants, priorities, st.integers(1, names.MAX_ATTEMPTS), workers, ids)
finished_names = st.builds(
    FinishedName, instants, priorities, st.integers(0, names.MAX_ATTEMPTS), results, st.integers(0, 10**12), ids
)
all_names: st.SearchStrategy[Name] = st.one_of(pending_names, running_names, finished_names)

PARSERS = (PendingName.parse, RunningName.parse, FinishedName.parse)

EXAMPLES: tuple[tuple[str, Name], ...] = (
    ("010-20261124T034300.120Z-0-report.json", PendingName(10, NOW, 0, "report")),
    ("000-20261124T034300.120Z-999999-a-b.c_D.json", PendingName(0, NOW, 999_999, "a-b.c_D")),
    ("20261124T034300.120Z-010-1-web1.4242.k7f3-report.json", RunningName(NOW, 10, 1, "web1.4242.k7f3", "report")),
    ("20261124T034300.120Z-999-12-a.b_c.1.zzzz-1.json", RunningName(NOW, 999, 12, "a.b_c.1.zzzz", "1")),
    (
        "20261124T034300.120Z-010-1-exit0-12.300s-report.json",
        FinishedName(NOW, 10, 1, Result.exit(0), 12_300, "report"),
    ),
    (
        "20261124T034300.120Z-010-4-signal9-0.532s-report.json",
        FinishedName(NOW, 10, 4, Result.signal(9), 532, "report"),
    ),
    ("20261124T034300.120Z-010-0-invalid-0.000s-x.json", FinishedName(NOW, 10, 0, Result("invalid"), 0, "x")),
)

FOREIGN = (
    "", "x", ".json", "report.json", "README.md", "config.toml",
    # pending: one detail of 010-20261124T034300.120Z-0-report.json each
    "10-20261124T034300.120Z-0-report.json", "0010-20261124T034300.120Z-0-report.json",
    "+10-20261124T034300.120Z-0-report.json", "-10-20261124T034300.120Z-0-report.json",
    "010-20261124T034300.120-0-report.json", "010-20261124T034300Z-0-report.json",
    "010-20261124T034300.12Z-0-report.json", "010-20261124T034300.120z-0-report.json",
    "010-20261124 034300.120Z-0-report.json", "010-20261324T034300.120Z-0-report.json",
    "010-20260229T034300.120Z-0-report.json", "010-20261124T244300.120Z-0-report.json",
    "010-20261124T034360.120Z-0-report.json", "010-00001124T034300.120Z-0-report.json",
    "010-20261124T034300.120Z-00-report.json", "010-20261124T034300.120Z-01-report.json",
    "010-20261124T034300.120Z--report.json", "010-20261124T034300.120Z-1000000-report.json",
    "010-20261124T034300.120Z-0-.json", "010-20261124T034300.120Z-0--report.json",
    "010-20261124T034300.120Z-0-.report.json", "010-20261124T034300.120Z-0-_report.json",
    "010-20261124T034300.120Z-0-rep ort.json", "010-20261124T034300.120Z-0-rep/ort.json",
    "010-20261124T034300.120Z-0-repört.json", "010-20261124T034300.120Z-0-report.json\n",
    "010-20261124T034300.120Z-0-report\n.json", "010-20261124T034300.120Z-0-report.JSON",
    "010-20261124T034300.120Z-0-report.json~", "010-20261124T034300.120Z-0-report.json.tmp",
    "010-20261124T034300.120Z-0-report", ".010-20261124T034300.120Z-0-report.json",
    " 010-20261124T034300.120Z-0-report.json", "010_20261124T034300.120Z_0_report.json",
    "010-20261124T034300.120Z-0-" + "a" * 101 + ".json",
    "٠١٠-20261124T034300.120Z-0-report.json", "010-20261124T034300.120Z-٣-report.json",
    # running: 20261124T034300.120Z-010-1-web1.4242.k7f3-report.json
    "20261124T034300.120Z-010-0-web1.4242.k7f3-report.json", "20261124T034300.120Z-010-1-web1.4242-report.json",
    "20261124T034300.120Z-010-1-web1.0.k7f3-report.json", "20261124T034300.120Z-010-1-web1.042.k7f3-report.json",
    "20261124T034300.120Z-010-1-WEB1.4242.k7f3-report.json", "20261124T034300.120Z-010-1-web-1.4242.k7f3-report.json",
    "20261124T034300.120Z-010-1-.4242.k7f3-report.json", "20261124T034300.120Z-010-1-web1.4242.k7f-report.json",
    "20261124T034300.120Z-010-1-web1.4242.k7f33-report.json", "20261124T034300.120Z-10-1-web1.4242.k7f3-report.json",
    "20261124T034300.120Z-010-1-" + "a" * 21 + ".4242.k7f3-report.json",
    "20261124T034300.120Z-010-1-web1.4242.k7f3-.json",
    # finished: 20261124T034300.120Z-010-1-exit0-12.300s-report.json
    "20261124T034300.120Z-010-1-exit-12.300s-report.json", "20261124T034300.120Z-010-1-exit00-12.300s-report.json",
    "20261124T034300.120Z-010-1-exit256-12.300s-report.json", "20261124T034300.120Z-010-1-exit-1-12.300s-report.json",
    "20261124T034300.120Z-010-1-signal0-12.300s-report.json",
    "20261124T034300.120Z-010-1-signal100-12.300s-report.json",
    "20261124T034300.120Z-010-1-timeout1-12.300s-report.json", "20261124T034300.120Z-010-1-done-12.300s-report.json",
    "20261124T034300.120Z-010-1-Exit0-12.300s-report.json", "20261124T034300.120Z-010-1--12.300s-report.json",
    "20261124T034300.120Z-010-1-exit0-12.3s-report.json", "20261124T034300.120Z-010-1-exit0-12s-report.json",
    "20261124T034300.120Z-010-1-exit0-012.300s-report.json", "20261124T034300.120Z-010-1-exit0-.300s-report.json",
    "20261124T034300.120Z-010-1-exit0-12.300-report.json", "20261124T034300.120Z-010-1-exit0-12,300s-report.json",
    "20261124T034300.120Z-010-01-exit0-12.300s-report.json", "20261124T034300.120Z-010-1-exit0-report.json",
)  # fmt: skip


@pytest.mark.parametrize(("text", "name"), EXAMPLES, ids=[text for text, _ in EXAMPLES])
def test_examples(text: str, name: Name) -> None:
    """The names of the design stand for these values, and the values for these names."""
    assert str(name) == text
    assert names.parse_any(text) == name


@given(all_names)
def test_round_trip(name: Name) -> None:
    """A name of any kind is read back as the value it was made from, and by the parser of its kind alone."""
    parsed = [parse(str(name)) for parse in PARSERS]
    assert [found for found in parsed if found is not None] == [name]
    assert type(names.parse_any(str(name))) is type(name)


@given(all_names)
def test_names_fit_a_directory_entry(name: Name) -> None:
    """Every name fits the 255 bytes of a directory entry."""
    assert len(os.fsencode(str(name))) <= 255


def test_longest_names() -> None:
    """With every field at its longest, a name still is far below 255 bytes."""
    worker = names.format_worker("w" * 300, 2**32, "abcd")
    longest = (
        PendingName(999, NOW, 999_999, "a" * 100),
        RunningName(NOW, 999, 999_999, worker, "a" * 100),
        FinishedName(NOW, 999, 999_999, Result("cancelled"), 9_999_999_999_999, "a" * 100),
    )
    assert [names.parse_any(str(name)) for name in longest] == list(longest)
    assert max(len(str(name)) for name in longest) == 174


close_names = st.builds(
    PendingName,
    st.sampled_from([0, 1, 9, 10, 99, 100, 999]),
    st.integers(-3, 3).map(lambda number: NOW + timedelta(milliseconds=number)) | instants,
    st.sampled_from([0, 2, 10, 999_999]),
    st.sampled_from(["a", "Z", "0", "a-b", "a.b"]),
)


@given(close_names, close_names)
def test_text_order_is_scheduling_order(one: PendingName, other: PendingName) -> None:
    """`LC_ALL=C ls pending/` lists jobs as they will start: by priority, then by run_at."""
    rank, other_rank = (one.priority, one.run_at), (other.priority, other.run_at)
    assert rank == other_rank or (str(one) < str(other)) == (rank < other_rank)
    assert (str(one) < str(other)) == (os.fsencode(str(one)) < os.fsencode(str(other)))


@given(st.lists(st.builds(RunningName, instants, priorities, st.just(1), workers, ids)))
def test_running_names_sort_by_start(running: list[RunningName]) -> None:
    """`ls running/` shows the longest-running job first."""
    in_order = [RunningName.parse(text) for text in sorted(map(str, running))]
    starts = [name.started_at for name in in_order if name]
    assert len(starts) == len(running)
    assert starts == sorted(starts)


@pytest.mark.parametrize("text", FOREIGN)
def test_near_misses_are_foreign(text: str) -> None:
    """A name that is wrong in one detail is nobody's."""
    assert names.parse_any(text) is None


CHARACTERS = st.sampled_from(list("0123456789TZs.-_aexitA/ \n\0é٣²")) | st.characters()


@given(st.data(), all_names)
def test_changed_name_is_foreign_or_another_value(data: st.DataObject, name: Name) -> None:
    """However a name is bent, it parses only if it is exactly what its value would be called."""
    text = str(name)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 2))
        text = text[:start] + data.draw(st.text(CHARACTERS, max_size=2)) + text[start + length :]
    for parse in PARSERS:
        found = parse(text)
        assert found is None or str(found) == text


@given(st.text() | st.text().map(lambda text: f"010-20261124T034300.120Z-0-{text}.json"))
def test_foreign_names_are_never_mistaken(text: str) -> None:
    """A foreign name is None; what is taken for ours would be written just so."""
    found = names.parse_any(text)
    assert found is None or str(found) == text


@given(pending_names)
def test_cheap_test_passes_our_names(name: PendingName) -> None:
    """`looks_pending` holds for every name of pending/ of ours, and none of them is ignored."""
    assert names.looks_pending(str(name))
    assert not names.is_ignored(str(name))


@pytest.mark.parametrize("text", ["report.json", "20261124T034300.120Z-010-1-web1.4242.k7f3-report.json", "x" * 40])
def test_cheap_test_fails_others(text: str) -> None:
    """Names of other directories and of no directory do not look like a pending job."""
    assert not names.looks_pending(text)


@given(finished_names)
def test_cheap_test_passes_our_finished_names(name: FinishedName) -> None:
    """`looks_finished` holds for every name of done/ and dead/ of ours."""
    assert names.looks_finished(str(name))


@given(st.lists(finished_names), st.lists(st.sampled_from(FOREIGN)))
def test_counts_agree_with_parsing_each_name(ours: list[FinishedName], foreign: list[str]) -> None:
    """What a pattern over all of them finds is what parsing each would find."""
    expected = Counter((name.attempts, name.result, name.duration_ms) for name in ours)
    theirs = [text for text in foreign if FinishedName.parse(text) is None]
    mixed = [os.fsencode(text) for text in sorted([*map(str, ours), *theirs])]
    times = sorted(names.format_time(name.finished_at)[:-1].encode() for name in ours)
    for mark in (b"\0", b"\x08", b"\x0a"):
        text = b"".join(b"?Z-%b%b\0" % (mark, name) for name in mixed)
        tally = names.FinishedTally(names.parse_time("00010101T000000.000Z"))
        assert names.count_finished(text) == len(ours)
        assert names.count_skipped(text) == sum(name.result.is_skipped for name in ours)
        assert (sorted(tally.add(text)), tally.counts) == (times, expected)


@pytest.mark.parametrize(
    "foreign",
    [
        "99999999T999999.999Z-010-1-exit0-1.000s-x.json", "20261124T034300.120Z-010-1-exit999-1.000s-x.json",
        "20261124T034300.120Z-010-01-exit0-1.000s-x.json", "x20261124T034300.120Z-010-1-exit0-1.000s-x.json",
        "20261124T034300.120Z-010-1-exit0-1.000s-x.json~", "notes.json", "Z-.json",
        "abcdefghijklmnopqrsZ-010-1-exit0-1.000s-20261124T034300.120Z-x.json",
        "abcdefghTijklmn.opqZ-010-1-exit0-1.000s-x.json",
    ],
)  # fmt: skip
def test_counts_leave_out_names_that_resemble_a_finished_job(foreign: str) -> None:
    """One foreign name among ours changes no number."""
    ours = b"".join(b"\x0820261124T034300.120Z-010-1-exit0-0.001s-Z-%d.json\0" % number for number in range(3))
    text = ours + b"\x08%b\0" % foreign.encode()
    assert names.count_finished(text) == 3
    assert names.count_skipped(text + b"\x0820261124T034300.120Z-010-1-exit0-0.001s-a-skipped-b.json\0") == 0
    counts = Counter({(1, Result.exit(0), 1): 3})
    for since, number in (("20261124T034300.120Z", 3), ("20261124T034300.121Z", 0)):
        tally = names.FinishedTally(names.parse_time(since))
        assert [tally.add(text), tally.add(ours)] == [[b"20261124T034300.120"] * number] * 2
        assert tally.counts == counts + counts


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("job.json", False), ("-.json", False), ("~.json", False), ("é.json", False),
        (".job.json", True), ("job.json~", True), ("job.json.tmp", True), ("job.json.part", True), (".json", True),
        ("job.json.swp", True), (".job.json.swp", True), ("job.txt", True), ("job", True), ("job.JSON", True),
    ],
)  # fmt: skip
def test_ignored_names(text: str, ignored: bool) -> None:
    """Hidden files and those of editors and unfinished copies are not jobs."""
    assert names.is_ignored(text) is ignored


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("job", True), ("job.JSON", True), ("job.json.~1~", True), ("job.txt", True), ("job.json (1)", True),
        ("job.json.1", True), ("job.jsn", True),
        ("job.json", False), (".job", False), ("job.json~", False), ("job.json.tmp", False), ("job.part", False),
        ("job.json.swp", False), ("#job.json#", False), ("job.json.bak", False), (".job.json.~1~", False),
    ],
)  # fmt: skip
def test_ignored_names_that_may_be_a_mistake(text: str, meant: bool) -> None:
    """A name that no tool gives to what it leaves behind: `cp --backup=numbered`, for one, made it of a job."""
    assert names.looks_meant(text) is meant


@given(st.text())
def test_dropped_file_gets_a_valid_id(stem: str) -> None:
    """Whatever a file is called, the id made of it is valid and ends with the suffix."""
    id = names.id_from_file_name(f"{stem}.json", "abcd1234")
    assert names.is_valid_id(id)
    assert id.endswith("-abcd1234")


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("report.json", "report-x7"), ("night run.json", "night_run-x7"), (".json", "job-x7"), ("日本.json", "job-x7"),
        ("--help.json", "help-x7"), ("a" * 250 + ".json", "a" * 97 + "-x7"), ("a.tar.json", "a.tar-x7"),
        ("gpu..json", "gpu_-x7"), ("a..b.json", "a_b-x7"),
    ],
)  # fmt: skip
def test_ids_from_file_names(name: str, id: str) -> None:
    """The id keeps as much of the file's stem as an id can hold."""
    assert names.id_from_file_name(name, "x7") == id


@given(st.text() | ids)
def test_valid_ids(text: str) -> None:
    """An id is 1 to 100 ASCII letters, digits, dots, underscores and hyphens, the first a letter or digit."""
    by_hand = 1 <= len(text) <= 100 and text[0] in LETTERS and all(char in LETTERS + "._-" for char in text)
    assert names.is_valid_id(text) is by_hand


@given(st.text(), st.integers(1, 2**31))
def test_worker_has_the_same_parts_back(host: str, pid: int) -> None:
    """Any host makes a worker's name that is read back, the host cut to what a name can hold."""
    worker = names.format_worker(host, pid, "k7f3")
    assert names.is_worker(worker)
    cut, read_pid, nonce = names.parse_worker(worker)
    assert (read_pid, nonce) == (pid, "k7f3")
    assert 1 <= len(cut) <= 20


@pytest.mark.parametrize(
    "text", ["", "web1", "web1.4242", "web1.0.k7f3", "Web1.1.k7f3", "web1.1.K7f3", "a-b.1.k7f3", "web1.1.k7f3\n"]
)
def test_worker_names_that_are_refused(text: str) -> None:
    """What is not a worker's name is refused."""
    assert not names.is_worker(text)
    with pytest.raises(ValueError, match="not a worker's name"):
        names.parse_worker(text)


@given(instants)
def test_times_round_trip(at: datetime) -> None:
    """A time of whole milliseconds is read back as it was written."""
    assert names.parse_time(names.format_time(at)) == at


@pytest.mark.parametrize(
    "text", ["", "20261124T034300Z", "20261324T034300.000Z", "20261124T250000.000Z", "2026-11-24T03:43:00Z"]
)
def test_times_that_are_refused(text: str) -> None:
    """What is not a time of the spool, or not in the calendar, is a ValueError."""
    with pytest.raises(ValueError):
        names.parse_time(text)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC)))
def test_time_is_rounded_up_to_the_millisecond(at: datetime) -> None:
    """A time that a name cannot carry is moved to the next millisecond, never back."""
    moved = names.ceil_to_millisecond(at)
    assert timedelta() <= moved - at < timedelta(milliseconds=1)
    assert names.parse_time(names.format_time(moved)) == moved


def test_rfc3339() -> None:
    """Times in JSON are RFC 3339 in UTC with milliseconds; no time is None."""
    assert names.format_rfc3339(NOW) == "2026-11-24T03:43:00.120Z"
    assert names.format_rfc3339(NOW.replace(microsecond=0)) == "2026-11-24T03:43:00.000Z"
    assert names.format_rfc3339(None) is None
