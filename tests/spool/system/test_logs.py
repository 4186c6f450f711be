"""The log of a job: the lines that queuectl adds, and the output between them as it was written."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuectl import Result, SpoolError
from queuectl.core.names import RunningName
from queuectl.core.result import CANCELLED, LOST, TIMEOUT
from queuectl.spool.system import log_entries, logs
from tests.spool.given import NOW, WORKER, running_name

BLOCK = 1 << 16
NAME = running_name("x")
START = b"#queuectl start attempt=1 started_at=20261124T034300.000Z worker=web1.4242.k7f3 pid=77\n"
END = b"\n#queuectl end attempt=1 started_at=20261124T034300.000Z exit=3\n"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    fd = logs.open_log(str(tmp_path / "x.log"))
    yield fd
    os.close(fd)


def find(fd: int, content: bytes, name: RunningName = NAME) -> logs.Attempt | None:
    os.ftruncate(fd, 0)
    os.write(fd, content)
    return logs.find_attempt(fd, name)


def read(content: bytes) -> list[logs.Mark | bytes]:
    return list(log_entries.read_entries(io.BytesIO(content)))


def join(entries: list[logs.Mark | bytes]) -> list[str | bytes]:
    """The events of the marks, and the output between two marks in one piece."""
    joined: list[str | bytes] = []
    for entry in entries:
        if isinstance(entry, logs.Mark):
            joined.append(entry.event)
        elif joined and isinstance(joined[-1], bytes):
            joined[-1] += entry
        else:
            joined.append(entry)
    return joined


# --- lines


def test_lines_of_an_attempt(log: int) -> None:
    """Start and end lines give attempt, claim time, worker, pid and outcome; an end line has a line of its own."""
    logs.append_start(log, NAME, 77)
    logs.append_end(log, NAME, "exit=3")
    assert os.pread(log, 1000, 0) == START + END
    logs.append_end(log, NAME, "exit=126", 'cannot "run"\nit')
    assert os.pread(log, 1000, len(START + END)).endswith(b' exit=126 reason="cannot \\"run\\"\\nit"\n')


def test_log_is_private_appended_and_no_link(tmp_path: Path) -> None:
    """A log is 0600, every write goes to its end, O_EXCL makes it once, and no link is followed."""
    path = str(tmp_path / "x.log")
    first, second = logs.open_log(path, exclusive=True), logs.open_log(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for fd in (first, second, first):
        logs.append_note(fd, "note", "hi")
    assert Path(path).read_text() == "#queuectl note hi\n" * 3
    with pytest.raises(FileExistsError):
        logs.open_log(path, exclusive=True)
    os.symlink(path, tmp_path / "link")
    with pytest.raises(OSError):
        logs.open_log(str(tmp_path / "link"))
    with pytest.raises(SpoolError, match="cannot be read"):
        log_entries.open_reading(str(tmp_path / "link"), "x")
    os.close(first)
    os.close(second)


@pytest.mark.parametrize("result", [Result.exit(0), Result.exit(255), Result.signal(9), TIMEOUT, LOST])
def test_outcome_is_read_as_written(log: int, result: Result) -> None:
    """Every result survives its way through an end line."""
    logs.append_start(log, NAME, 1)
    logs.append_end(log, NAME, logs.format_outcome(result))
    attempt = logs.find_attempt(log, NAME)
    assert attempt is not None
    assert attempt.result == result


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"status": "0"}, Result.exit(0)),
        ({"status": "128"}, Result.exit(128)),
        ({"status": "137"}, Result.signal(9)),
        ({"status": "193"}, Result.exit(193)),
        ({"exit": "137"}, Result.exit(137)),
        ({"exit": ""}, None),
        ({"exit": "256"}, None),
        ({"status": "x"}, None),
        ({"signal": "0"}, None),
        ({"result": logs.RELEASED}, None),
        ({}, None),
    ],
)
def test_end_line_results(fields: dict[str, str], result: Result | None) -> None:
    """A status as a shell sees it may stand for a signal; what is torn or foreign is not a result."""
    assert logs.parse_outcome(fields) == result


@pytest.mark.parametrize(
    ("content", "event"),
    [
        (b"", ""),
        (b"output\n", ""),
        (START, "start"),
        (START + b"out" + END, "end"),
        (START + b"out" + END + b"more", ""),
        (START + END + b"#queuectl retry by hand\n", "retry"),
        (b"x" * 5000 + END, "end"),
        (b"see #queuectl end attempt=1\n", ""),
    ],
)
def test_last_line(log: int, content: bytes, event: str) -> None:
    """The last line is reported only if queuectl wrote it."""
    os.write(log, content)
    assert logs.last_line(log)[0] == event


def test_ending_decides_what_the_shell_says_afterwards(log: int) -> None:
    """What a shell writes after its attempt began to be ended is not its own end; what it wrote before is."""
    logs.append_start(log, NAME, 77)
    os.write(log, b"half a line")
    logs.append_ending(log, NAME, "timeout")
    attempt = logs.find_attempt(log, NAME)
    assert attempt == logs.Attempt(len(START), WORKER, 77, TIMEOUT, ending="timeout")
    logs.append_end(log, NAME, "exit=0")
    assert logs.find_attempt(log, NAME) == attempt
    assert not logs.has_end(log, NAME.started_at)
    logs.append_end(log, NAME, "result=timeout bytes=3")
    assert logs.find_attempt(log, NAME) == attempt._replace(is_over=True)
    assert logs.has_end(log, NAME.started_at)


@pytest.mark.parametrize(
    ("reason", "said", "result"),
    [
        ("timeout", "exit=3", TIMEOUT),
        ("cancelled", "exit=0", CANCELLED),
        ("max-log", "exit=0", Result.signal(15)),
        ("max-log", "exit=3", Result.exit(3)),
        ("release", "exit=0", None),
    ],
)
def test_result_of_what_was_ended(log: int, reason: str, said: str, result: Result | None) -> None:
    """An attempt that was ended has the result of that, whatever its shell says in its grace."""
    logs.append_start(log, NAME, 77)
    logs.append_ending(log, NAME, reason)
    logs.append_end(log, NAME, said)
    attempt = logs.find_attempt(log, NAME)
    assert attempt is not None
    assert (attempt.result, attempt.ending, attempt.is_released) == (result, reason, reason == "release")


def test_end_before_an_ending_is_its_own(log: int) -> None:
    """Who ends an attempt that has just ended by itself changes nothing of its result."""
    logs.append_start(log, NAME, 77)
    logs.append_end(log, NAME, "exit=0")
    logs.append_ending(log, NAME, "cancelled")
    attempt = logs.find_attempt(log, NAME)
    assert attempt is not None
    assert (attempt.result, attempt.has_ended_itself) == (Result.exit(0), True)
    assert logs.has_end(log, NAME.started_at)


def test_open_attempt(log: int) -> None:
    """An attempt is open from its start line to its end line."""
    assert not logs.is_last_attempt_open(log)
    for line, is_open in ((START, True), (b"out", True), (END, False), (b"more\n", False), (START, True)):
        os.write(log, line)
        assert logs.is_last_attempt_open(log) == is_open


# --- find_attempt


@pytest.mark.parametrize("output", [b"", b"out", b"out\n", b"\n\n", b"\0\xff", b"a" * 200_000, b"line\n" * 50_000])
def test_find_attempt(log: int, output: bytes) -> None:
    """An attempt is found with its pid, its result and where its output begins, however long that is."""
    attempt = find(log, START + output + END)
    assert attempt == logs.Attempt(len(START), WORKER, 77, Result.exit(3), is_over=True)
    assert find(log, START + output) == logs.Attempt(len(START), WORKER, 77, None)
    assert find(log, output) is None


OTHERS = [
    running_name("x", attempt=2),
    running_name("x", attempt=11),
    RunningName(NOW + timedelta(milliseconds=1), 10, 1, WORKER, "x"),
    RunningName(NOW - timedelta(days=1), 10, 1, WORKER, "x"),
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
@pytest.mark.parametrize("filler", [b"", b"y" * 210_000])
def test_find_attempt_among_others(log: int, other: RunningName, filler: bytes) -> None:
    """Lines of other attempts, before, behind or within the output, do not mislead."""
    fake = f"{logs.format_start(other, '5')}\n{logs.format_end(other, 'exit=0')}\n".encode()
    start = len(fake + filler) + 1
    content = fake + filler + b"\n" + START + fake + filler + b"\n"
    expected = logs.Attempt(start + len(START), WORKER, 77, None)
    assert find(log, content + fake) == expected
    ended = logs.Attempt(start + len(START), WORKER, 77, Result.exit(3), is_over=True)
    assert find(log, content + END + fake + filler) == ended
    assert find(log, fake + filler) is None


def test_find_attempt_at_every_block_boundary(log: int) -> None:
    """Wherever the edge of a block falls in a start or an end line, the line is found."""
    for cut in range(len(END) + 2):
        assert find(log, START + b"out" + END + b"z" * (BLOCK - cut)) is not None
        attempt = find(log, START + b"out" + END + b"z" * (BLOCK - cut))
        assert attempt is not None
        assert attempt.result == Result.exit(3), cut
    for cut in range(len(START) + 2):
        attempt = find(log, b"earlier\n" + START + b"z" * (2 * BLOCK - cut))
        assert attempt == logs.Attempt(8 + len(START), WORKER, 77, None), cut


@pytest.mark.parametrize("cut", range(1, len(END)))
def test_torn_end_line_is_not_an_end(log: int, cut: int) -> None:
    """As long as a single byte of the end line is missing, the end is unknown."""
    attempt = find(log, START + b"out" + END[:-cut])
    assert attempt is not None
    assert attempt.result is None


def test_last_end_line_counts(log: int) -> None:
    """After a torn end line, the one that was written in its place is believed."""
    attempt = find(log, START + END[:-5] + END.replace(b"exit=3", b"result=lost"))
    assert attempt is not None
    assert attempt.result == LOST


def test_attempt_ended_when_its_log_was_last_written_to(tmp_path: Path) -> None:
    """That is the best that can be known of it later, but it was never before the attempt began."""
    path = str(tmp_path / "x.log")
    assert logs.read_attempt(path, NAME) == (None, None)
    os.close(logs.open_log(path))
    for seconds, expected in ((5, NOW + timedelta(seconds=5)), (-5, NOW)):
        os.utime(path, (0, NOW.timestamp() + seconds))
        assert logs.read_attempt(path, NAME) == (None, expected)


# --- read_entries

OUTPUT = st.one_of(st.binary(max_size=60), st.text("#queuctl \nend=1", max_size=40).map(str.encode)).filter(
    lambda data: b"#queuectl " not in data
)
ATTEMPTS = st.lists(st.tuples(OUTPUT, st.booleans()), min_size=1, max_size=4)


def build(attempts: list[tuple[bytes, bool]]) -> tuple[bytes, list[str | bytes]]:
    """A log, and what is to be read from it. An attempt without an end line ends with a newline."""
    content = b""
    expected: list[str | bytes] = []
    for number, (text, has_end) in enumerate(attempts, 1):
        name = running_name("x", number)
        output = text if has_end or text.endswith(b"\n") or not text else text + b"\n"
        content += f"{logs.format_start(name, '7')}\n".encode() + output
        expected += ["start", output] if output else ["start"]
        if has_end:
            content += f"\n{logs.format_end(name, 'exit=0')}\n".encode()
            expected.append("end")
    return content, expected


@given(ATTEMPTS)
def test_output_comes_back_byte_for_byte(attempts: list[tuple[bytes, bool]]) -> None:
    """Whatever the attempts wrote, with or without a final newline, is read exactly so."""
    content, expected = build(attempts)
    assert join(read(content)) == expected


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 200_001])
@pytest.mark.parametrize("newline", [b"", b"\n", b"\n\n"])
def test_long_lines_come_back(size: int, newline: bytes) -> None:
    """A line longer than a block is read in pieces and loses nothing."""
    entries = read(START + b"a" * size + newline + END)
    assert join(entries) == ["start", b"a" * size + newline, "end"]
    assert max(len(entry) for entry in entries if isinstance(entry, bytes)) <= BLOCK + 1


def test_marks_have_their_fields() -> None:
    """A mark gives its attempt and its fields, also quoted ones."""
    first, last = (entry for entry in read(START + END) if isinstance(entry, logs.Mark))
    assert (first.event, first.attempt, first.fields["worker"]) == ("start", 1, WORKER)
    assert (last.event, last.attempt, last.fields["exit"]) == ("end", 1, "3")
    (refused,) = read(b'#queuectl refused file="a b.json" reason="it is no job"\n')
    assert isinstance(refused, logs.Mark)
    assert refused.fields == {"file": "a b.json", "reason": "it is no job"}
    assert refused.attempt is None


@pytest.mark.parametrize("text", ["plain", 'a "quote"', 'ends with "', "back\\slash", "two\nlines", "\\n", '"'])
def test_quoted_text_is_read_as_written(text: str) -> None:
    """What a line quotes is reported as it was said."""
    (mark,) = read(f"#queuectl refused reason={logs.quote(text)}\n".encode())
    assert isinstance(mark, logs.Mark)
    assert mark.fields["reason"] == text


@pytest.mark.parametrize(
    "line", [b"#queuectl", b"#queuectl\n", b"#queuectl hello\n", b" #queuectl end\n", b"##queuectl end\n"]
)
def test_output_that_looks_like_a_line_is_output(line: bytes) -> None:
    """Only the known events at the start of a line are queuectl's."""
    assert join(read(START + line + END)) == ["start", line, "end"]


# --- follow


def follow(content: bytes, cuts: list[int], asked: Callable[[], None] = lambda: None) -> list[logs.Mark | bytes]:
    """Read a log that grows from cut to cut each time its end is met; an end line comes with its newline, at once."""
    whole = [match.span() for match in re.finditer(rb"\n#queuectl end [^\n]*\n", content)]
    wanted = sorted(cut % (len(content) + 1) for cut in cuts)
    edges = [cut for cut in wanted if not any(first < cut < last for first, last in whole)] + [len(content)]
    file = io.BytesIO(content[: edges[0]])

    def grow() -> bool:
        asked()
        if len(edges) == 1:
            return False
        at = file.tell()
        file.seek(0, os.SEEK_END)
        file.write(content[edges.pop(0) : edges[0]])
        file.seek(at)
        return True

    return list(log_entries.read_entries(file, grow))


@settings(deadline=None)
@given(ATTEMPTS, st.lists(st.integers(0, 2000), max_size=6))
def test_following_reads_the_same(attempts: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    """A log that is read while it grows, at whatever edges, reads the same as one that is read later."""
    content, expected = build(attempts)
    assert join(follow(content, cuts)) == expected


def test_following_shows_output_at_once() -> None:
    """Output without a newline, such as a prompt, is shown before more comes."""
    seen: list[bytes] = []
    entries = log_entries.read_entries(io.BytesIO(START + b"sure? "), lambda: pytest.fail(f"asked before {seen}"))
    next(entries)
    seen.append(next(entries))  # type: ignore[arg-type]
    assert seen == [b"sure? "]


def test_following_shows_whole_lines_at_once() -> None:
    """The newline of a line is shown with it, not with the next."""
    seen = b""

    def wait() -> bool:
        assert seen == b"one\n"
        return False

    for entry in log_entries.read_entries(io.BytesIO(START + b"one\n"), wait):
        seen += entry if isinstance(entry, bytes) else b""
    assert seen == b"one\n"


def test_following_continues_behind_a_long_line() -> None:
    """A line that begins like queuectl's and is longer than a block does not hold up what follows it."""
    asked: list[None] = []

    def wait() -> bool:
        asked.append(None)
        return len(asked) < 3

    line = b"#queuectl " + b"a" * (BLOCK + 5) + b"\n"
    entries = log_entries.read_entries(io.BytesIO(START + line + b"next"), wait)
    next(entries)
    pieces = b""
    for entry in entries:
        pieces += entry if isinstance(entry, bytes) else b""
        if pieces.endswith(b"next"):
            break
    assert pieces == line + b"next"
    assert not asked, "all of this was there without waiting"


def test_following_a_real_file(tmp_path: Path) -> None:
    """What another process appends to a log is read as it comes."""
    path = tmp_path / "x.log"
    fd = logs.open_log(str(path))
    logs.append_start(fd, NAME, 1)
    lines = [b"one\n", b"two"]

    def wait() -> bool:
        if not lines:
            return False
        os.write(fd, lines.pop(0))
        if not lines:
            logs.append_end(fd, NAME, "exit=0")
        return True

    with log_entries.open_reading(str(path), "x") as file:
        assert join(list(log_entries.read_entries(file, wait))) == ["start", b"one\ntwo", "end"]
    os.close(fd)
