"""The log of a job: its output as written, and the lines that queuectl adds in between.

    #queuectl start attempt=1 started_at=20261124T034300.120Z worker=web1.4242.k7f3 pid=4711
    (what the command wrote to stdout and stderr)

    #queuectl end attempt=1 started_at=20261124T034300.120Z exit=0

`start` and, if possible, `end` are written by the job's own shell, so they do not depend on the worker. An end
says `exit=N`, `signal=N`, `result=WORD`, or `status=N`: a status as a shell sees it, where 128 + N
means signal N. The newline before an end line belongs to it, so the output is known to the byte.
`retry`, `refused` and `note` are single lines by queuectl alone. When a failed attempt is settled
and the job's name will not record it, a note does, and so does a retry by hand:

    #queuectl note attempt=1 ended_at=20261124T034312.420Z duration=0.532

Where an attempt was sent, before it was, if it is to run on an engine (docs/engines.md) and not on the spool's host:

    #queuectl note sent attempt=1 started_at=20261124T034300.120Z to="tcp://10.0.0.7:40011" process="Worker-6f9b…"

What an attempt used, after its end, if its worker waited for it: bytes of memory, at most, and seconds of CPU time; and
how many seconds its job had waited before it, from the time at which it was to start:

    #queuectl note used attempt=1 max_rss=18378752 cpu_user=0.120 cpu_system=0.004 waited=0.015

Before an attempt is ended, and while its shell is stopped, a note says why (`release`, `timeout`, `cancelled` or
`max-log`). An end line in front of that is the attempt's own; whatever comes after it, that is how it ended:

    #queuectl note ending attempt=1 started_at=20261124T034300.120Z reason=timeout
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO

from queuectl.core.names import RunningName, format_time, format_time_cached
from queuectl.core.result import Result
from queuectl.errors import SpoolError
from queuectl.spool.system import files, holes
from queuectl.tuples import NamedTuple

RELEASED = "released"
"""The result of an attempt that does not count: its worker gave the job back."""
ENDING_RELEASE, ENDING_CANCELLED = "release", "cancelled"
"""Why an attempt is ended: its job is given back, or was cancelled; other reasons are `timeout` and `max-log`."""
PREFIX = b"#queuectl "
_LINE = rb"#queuectl (start|end|retry|refused|note) ?([^\n]*)\n?"
_FIELD = rb'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)'
_BLOCK = 1 << 16
_SIGTERM = 15  # the module signal takes a millisecond to import
_LONGEST_EVENT = 40  # bytes of a line of queuectl's before the time


_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def open_log(path: str, *, exclusive: bool = False) -> int:
    """A descriptor for appending and reading, 0600, created if missing (or only then, if `exclusive`)."""
    return os.open(path, _FLAGS | os.O_CREAT | (os.O_EXCL if exclusive else 0), 0o600)


def open_existing(path: str) -> int:
    """`open_log` of an existing log: a job that was deleted in the meantime gets no new one. Raises OSError."""
    return os.open(path, _FLAGS)


def format_start(name: RunningName, pid: str) -> str:
    """The start line, without its newline. `pid` may be a shell's `$$`."""
    at = format_time_cached(name.started_at)
    return f"#queuectl start attempt={name.attempt} started_at={at} worker={name.worker} pid={pid}"


def format_end(name: RunningName, outcome: str) -> str:
    """The end line, without the newlines around it. `outcome` is such as `exit=0`."""
    return f"#queuectl end attempt={name.attempt} started_at={format_time_cached(name.started_at)} {outcome}"


def format_outcome(result: Result) -> str:
    return f"result={result}" if result.code is None else f"{result.kind}={result.code}"


def append_start(fd: int, name: RunningName, pid: int) -> None:
    """Write the start line that the job's shell could not write."""
    _append(fd, format_start(name, str(pid)) + "\n")


def append_end(fd: int, name: RunningName, outcome: str, reason: str = "") -> None:
    """Write the end line that the job's shell could not write."""
    said = f" reason={quote(reason)}" if reason else ""
    _append(fd, "\n" + format_end(name, outcome + said) + "\n")


def append_note(fd: int, event: str, text: str, *, is_running: bool = False) -> None:
    """Write a `retry`, `refused` or `note` line; a job that runs may have written half a line in front of it."""
    size = os.fstat(fd).st_size if is_running else 0
    newline = "\n" if size and os.pread(fd, 1, size - 1) != b"\n" else ""
    _append(fd, f"{newline}#queuectl {event} {text}\n")


class Usage(NamedTuple):
    """What an attempt used: the most memory of any of its processes, in bytes, and seconds of CPU time of all of them.

    Linux counts the memory of the process that started it too, so `max_rss` is never below that of a worker.
    """

    max_rss: int
    cpu_user: float
    cpu_system: float

    @property
    def cpu(self) -> float:
        return self.cpu_user + self.cpu_system


def append_usage(fd: int, attempt: int, used: Usage, waited: float) -> None:
    """Write what that attempt used, and for how many seconds its job had waited before it."""
    text = b"#queuectl note used attempt=%d max_rss=%d cpu_user=%.3f cpu_system=%.3f waited=%.3f\n"
    os.write(fd, text % (attempt, *used, max(0.0, waited)))


def append(fd: int, data: bytes) -> None:
    """Write whole lines of another log."""
    os.write(fd, data)


def append_ending(fd: int, name: RunningName, reason: str) -> None:
    """Record why an attempt is about to be ended, while its shell is stopped: an end line after this is not its own."""
    text = f"ending attempt={name.attempt} started_at={format_time(name.started_at)} reason={reason}"
    append_note(fd, "note", text, is_running=True)


def format_ended(attempt: int, at: datetime, duration: float) -> str:
    """The fields that record when an attempt ended, which its shell cannot."""
    return f"attempt={attempt} ended_at={format_time(at)} duration={duration:.3f}"


def _append(fd: int, text: str) -> None:
    os.write(fd, text.encode("utf-8", "backslashreplace"))


def quote(text: str) -> str:
    """`text` as one line in double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'


class Attempt(NamedTuple):
    """What a log says about one attempt: who claimed it, its shell's pid, and how it ended.

    `output_at` is the offset after its start line. `is_over`: its end is on record. `ending` is why it was being
    ended, if it had not ended by itself before that: then `result` follows from that, even while it is not over yet,
    and is None for one whose job is given back.
    """

    output_at: int
    worker: str
    pid: int | None
    result: Result | None = None
    is_over: bool = False
    ending: str | None = None

    @property
    def has_ended_itself(self) -> bool:
        return self.is_over and self.ending is None

    @property
    def is_released(self) -> bool:
        """Whether it was ended so that its worker could give the job back."""
        return self.ending == ENDING_RELEASE


class Start(NamedTuple):
    """What a start line says: the number of the attempt, who claimed it, and its shell's pid."""

    attempt: int
    worker: str
    pid: int


def find_attempt(fd: int, name: RunningName) -> Attempt | None:
    """The attempt of a name in running/; None if its start was never logged."""
    which = f"attempt={name.attempt} started_at={format_time(name.started_at)} "
    start = _rfind(fd, f"#queuectl start {which}".encode())
    if start is None:
        return None
    first = _line_at(fd, start)
    fields = _fields(first)
    attempt = Attempt(start + len(first), fields.get("worker", ""), _number(fields.get("pid", "")))
    end = _rfind(fd, f"\n#queuectl end {which}".encode(), start)
    ended = _fields_at(fd, end + 1) if end is not None else {}
    ending = _rfind(fd, f"#queuectl note ending {which}".encode(), start, end)
    result = parse_outcome(ended)
    if ending is None:
        is_released = ended.get("result") == RELEASED  # as an earlier version leaves it
        return attempt._replace(
            result=result, is_over=result is not None or is_released, ending=ENDING_RELEASE if is_released else None
        )
    reason = _fields_at(fd, ending).get("reason", "")
    return attempt._replace(result=_result_of_ending(reason, result), is_over=_is_last_word(ended), ending=reason)


def find_note(fd: int, text: str) -> tuple[dict[str, str], int] | None:
    """The fields of the last note that begins so, and the offset after it; None if there is none, or it is torn."""
    at = _rfind(fd, f"#queuectl note {text}".encode())
    line = b"" if at is None else _line_at(fd, at)
    return (_fields(line), (at or 0) + len(line)) if line.endswith(b"\n") else None


def find_ending(fd: int, least: int, most: int) -> int | None:
    """The offset of the last note in that part of a log that an attempt is being ended; None if there is none."""
    return _rfind(fd, b"#queuectl note ending attempt=", least, most)


def find_start(fd: int, started_at: datetime) -> Start | None:
    """The start line of the attempt that was claimed at that time; None if its start was never logged."""
    mark = f" started_at={format_time(started_at)} worker=".encode()
    at = _rfind(fd, mark)
    start = _rfind(fd, b"#queuectl start attempt=", max(0, at - _LONGEST_EVENT), at) if at is not None else None
    fields = _fields_at(fd, start) if start is not None else {}
    attempt, pid = _number(fields.get("attempt", "")), _number(fields.get("pid", ""))
    if attempt is None or pid is None:
        return None
    return Start(attempt, fields.get("worker", ""), pid)


def _is_last_word(ended: dict[str, str]) -> bool:
    """Whether an end line was written by a worker, after every process had ended, and not by a shell, which writes only
    a number."""
    return bool(ended.keys() & {"result", "bytes", "reason"})


def _result_of_ending(reason: str, said: Result | None) -> Result | None:
    """The result of an attempt that was ended, whatever its shell wrote since; None for one that is given back."""
    if reason == ENDING_RELEASE:
        return None
    if reason == "max-log":
        return said if said is not None and not said.is_success else Result.signal(_SIGTERM)
    return parse_outcome({"result": reason}) or said


def parse_outcome(fields: dict[str, str]) -> Result | None:
    """The result in the fields of an end line; None if they are torn or foreign."""
    try:
        if "exit" in fields:
            return Result.parse(f"exit{int(fields['exit'])}")
        if "signal" in fields:
            return Result.parse(f"signal{int(fields['signal'])}")
        if "status" in fields:
            return from_shell_status(int(fields["status"]))
        return Result.parse(fields.get("result", ""))
    except ValueError:
        return None


def from_shell_status(status: int) -> Result:
    """A command's status as its shell sees it: 128 + N means death by signal N (POSIX sh, 2.8.2)."""
    return Result.signal(status - 128) if 128 < status <= 192 else Result.exit(status)


def ends_with(fd: int, text: str) -> bool:
    """Whether these are the log's last bytes."""
    data = text.encode()
    size = os.lseek(fd, 0, os.SEEK_END)  # a fifth of the cost of fstat; what is written is appended wherever that is
    return os.pread(fd, len(data) + 1, max(0, size - len(data))) == data


def last_line(fd: int) -> tuple[str, dict[str, str]]:
    """(event, fields) of the last line if queuectl wrote it, else ("", {})."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, 1024, max(0, size - 1024)).rstrip(b"\n").rsplit(b"\n", 1)[-1]
    match = re.fullmatch(_LINE, tail)
    return (match[1].decode(), _fields(match[2])) if match else ("", {})


def last_use(fd: int) -> tuple[Usage | None, float | None]:
    """What the last attempt used, and how many seconds its job had waited before it, if that is the last line of the
    log, as it is of a job that has ended."""
    event, fields = last_line(fd)
    mark = Mark(event, fields, "used " if "max_rss" in fields else "")
    return mark.usage, mark.waited


def outcome_of(fd: int, attempt: int) -> Result | None:
    """How that attempt ended, if the last end line is its own."""
    end = _rfind(fd, b"\n#queuectl end attempt=")
    line = b"" if end is None else _line_at(fd, end + 1)
    fields = _fields(line)
    return parse_outcome(fields) if line.endswith(b"\n") and fields.get("attempt") == str(attempt) else None


def has_end(fd: int, started_at: datetime) -> bool:
    """Whether the end of the attempt that was claimed at that time is on record, so that whatever holds its lock was
    left behind. While an attempt is being ended, an end line of its shell does not count."""
    mark = f" started_at={format_time(started_at)} "
    at = _rfind(fd, mark.encode())
    while at is not None:
        start = max(0, at - _LONGEST_EVENT)
        event = re.search(rb"#queuectl (start|end) attempt=\d+\Z", os.pread(fd, at - start, start))
        if event is None:  # a note
            at = _rfind(fd, mark.encode(), 0, at)
        elif event[1] == b"start":
            return False
        else:
            ended = _fields_at(fd, start + event.start())
            return _is_last_word(ended) or _rfind(fd, f"{mark}reason=".encode(), 0, at) is None
    return False


def is_last_attempt(fd: int, name: RunningName) -> bool:
    """Whether no other attempt has started in this log since that one."""
    start = _rfind(fd, b"#queuectl start attempt=")
    return start is None or _line_at(fd, start).startswith(
        f"#queuectl start attempt={name.attempt} started_at={format_time(name.started_at)} ".encode()
    )


def has_start(fd: int) -> bool:
    """Whether an attempt has ever started."""
    return _rfind(fd, b"#queuectl start attempt=") is not None


def is_last_attempt_open(fd: int) -> bool:
    """Whether the last attempt that started in this log has no end line."""
    start = _rfind(fd, b"#queuectl start attempt=")
    return start is not None and _rfind(fd, b"\n#queuectl end attempt=", start) is None


def _rfind(fd: int, needle: bytes, least: int = 0, most: int | None = None) -> int | None:
    """The last offset of `needle` at or after `least`, and wholly before `most`, reading backwards in blocks."""
    end = os.fstat(fd).st_size if most is None else most
    after = b""
    while end > least:
        step = _BLOCK
        while end - step > least and holes.is_hole(fd, end - step, end):  # dropped output may be very long
            end, step, after = end - step, step * 2, b""
        start = max(least, end - _BLOCK)
        block = os.pread(fd, end - start, start) + after
        at = block.rfind(needle)
        if at >= 0:
            return start + at
        after = block[: len(needle) - 1]
        end = start
    return None


def _line_at(fd: int, offset: int) -> bytes:
    """The line at `offset`, with its newline if it is whole."""
    data = os.pread(fd, 4096, offset)
    return data[: data.index(b"\n") + 1] if b"\n" in data else data


def _fields_at(fd: int, offset: int) -> dict[str, str]:
    """The fields of the line there; none of one that is torn."""
    line = _line_at(fd, offset)
    return _fields(line) if line.endswith(b"\n") else {}


def _fields(line: bytes) -> dict[str, str]:
    return {key.decode(): _unquote(value.decode("utf-8", "replace")) for key, value in re.findall(_FIELD, line)}


def _number(text: str) -> int | None:
    """A number in such a line, which a job may have written; None if it is none of ours."""
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _unquote(text: str) -> str:
    """Inverse of `quote`; a text that is not quoted is returned as it is."""
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), text[1:-1])


class Mark(NamedTuple):
    """A line of queuectl's in a log: its event, its fields, and the text after the event.

    `dropped` is not a line: it marks where output was dropped.
    """

    event: str
    fields: dict[str, str]
    text: str

    @property
    def attempt(self) -> int | None:
        return _number(self.fields.get("attempt", ""))

    @property
    def usage(self) -> Usage | None:
        """What an attempt used, if that is what it says."""
        if not self._says_use:
            return None
        rss, user, system = (
            _number(self.fields.get("max_rss", "")),
            self._seconds("cpu_user"),
            self._seconds("cpu_system"),
        )
        return None if rss is None or user is None or system is None else Usage(rss, user, system)

    @property
    def waited(self) -> float | None:
        """For how many seconds a job had waited before an attempt, if that is what it says."""
        return self._seconds("waited") if self._says_use else None

    @property
    def _says_use(self) -> bool:
        return self.event == "note" and self.text.startswith("used ")

    def _seconds(self, field: str) -> float | None:
        text = self.fields.get(field, "")
        return float(text) if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text, re.ASCII) else None


def parse_mark(line: bytes) -> Mark | None:
    """The mark of a whole line; None for output."""
    match = re.fullmatch(_LINE, line)
    return _mark(match) if match else None


def _mark(match: re.Match[bytes]) -> Mark:
    return Mark(match[1].decode(), _fields(match[2]), match[2].decode("utf-8", "replace"))


def read_entries(  # noqa: C901 - one loop over one state
    file: BinaryIO, wait: Callable[[], bool] | None = None
) -> Iterator[Mark | bytes]:
    """The log in order: pieces of output exactly as written, and a Mark for each line of queuectl's.

    At the end of the file `wait`, if given, is called: True means to look again, False that nothing
    more will come. Memory stays flat however long a log or a line is.
    """
    held = False  # a newline that belongs to the output unless an end line follows
    at_line_start = True
    while True:
        line = _read_piece(file)
        if isinstance(line, Mark):
            if held:
                yield b"\n"
            held = at_line_start = False
            yield line
            continue
        if not line or (wait is not None and at_line_start and _may_become_mark(line)):
            file.seek(-len(line), os.SEEK_CUR)
            if held and wait is not None:  # an end line is written along with its newline: this one is output
                held = False
                yield b"\n"
            if wait is not None and wait():
                continue
            if not line:
                break
            line = file.read(len(line))
        match = re.fullmatch(_LINE, line) if at_line_start and line.startswith(PREFIX) else None
        if match:
            if held and match[1] != b"end":
                yield b"\n"
            held = False
            yield _mark(match)
            continue
        at_line_start = line.endswith(b"\n")
        piece = (b"\n" if held else b"") + line
        held = at_line_start
        if held:
            piece = piece[:-1]
        if piece:
            yield piece
    if held:
        yield b"\n"


def _read_piece(file: BinaryIO) -> bytes | Mark:
    """The next line, or a block of it, up to where output was dropped; then a mark for that."""
    line = file.readline(_BLOCK)
    if b"\0" not in line:
        return line
    try:
        fd, start = file.fileno(), file.tell() - len(line)
    except OSError:  # not a real file
        return line
    raw_position = os.lseek(fd, 0, os.SEEK_CUR)
    hole = holes.find(fd, start, start + len(line))
    os.lseek(fd, raw_position, os.SEEK_SET)  # where the file's buffer expects it
    if hole is None:
        return line
    if hole[0] > start:
        file.seek(hole[0])
        return line[: hole[0] - start]
    file.seek(hole[1])
    size = hole[1] - start
    return Mark("dropped", {"bytes": str(size)}, f"{size} bytes of output, for max-log")


def _may_become_mark(line: bytes) -> bool:
    """Whether it is the beginning of a line of queuectl's that is still being written."""
    return line[-1:] != b"\n" and len(line) < _BLOCK and PREFIX.startswith(line[: len(PREFIX)])


def open_reading(path: str, id: str) -> BinaryIO:
    """A log opened for reading, never through a link; raises SpoolError if there is none, or not a regular file."""
    try:
        fd = files.open_regular(path)
    except OSError as error:
        raise SpoolError(f"the log of {id} cannot be read", f"{path}: {error.strerror}") from error
    return os.fdopen(fd, "rb")


def read_attempt(path: str, name: RunningName) -> tuple[Attempt | None, datetime | None]:
    """`find_attempt` in the log of that path, and when it was last written to, never before the attempt began.

    (None, None) if there is no log, or it is not a regular file. Raises OSError if that cannot be determined.
    """
    try:
        fd = files.open_regular(path)
    except (FileNotFoundError, files.NotRegularError):
        return None, None
    try:
        at = datetime.fromtimestamp(os.fstat(fd).st_mtime, name.started_at.tzinfo)
        return find_attempt(fd, name), max(at, name.started_at)
    finally:
        os.close(fd)
