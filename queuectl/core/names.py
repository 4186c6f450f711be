"""File names of the spool <-> values. The grammar, with fields split at `-` and the id last:

    pending/     priority-run_at-attempts-id.json
    running/     started_at-priority-attempt-worker-id.json
    done/, dead/ finished_at-priority-attempts-result-duration-id.json

    priority     three digits, 000 to 999; lower runs first
    *_at         UTC, YYYYMMDDTHHMMSS.mmmZ
    attempts     decimal, no leading zero, up to 999999; `attempt` counts from 1
    worker       host.pid.nonce: host of 1 to 20 [a-z0-9_.], nonce of 4 [a-z0-9]
    result       see `Result`
    duration     seconds with three decimals, then `s`
    waiting      the run_at 99990101T000000.000Z: the job waits for other jobs
    held         any other run_at in the year 9999: the job waits until it is released
    id           [A-Za-z0-9][A-Za-z0-9._-]{0,99}

Every name has exactly one value and every value one name, so the text order of pending names
(`LC_ALL=C ls`) is the order in which jobs start: priority, then run_at, then the rest.
The longest name is 174 bytes.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache

from queuectl.core.result import RESULT_PATTERN, Result
from queuectl.tuples import NamedTuple

MAX_PRIORITY = 999
DEFAULT_PRIORITY = 10
MAX_ATTEMPTS = 999_999
SUFFIX = ".json"
HELD_AT = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
"""The run_at of a held job. No body can ask for the year 9999: the latest run_at is in 9998."""
ASKING_AT = datetime(9999, 1, 2, tzinfo=UTC)
"""The run_at of a job that asks for its key. A job that is to be held then has it in the millisecond after."""
HELD_FROM = "9999"
"""How the run_at of every job that waits for something other than a time begins; no worker starts it."""
WAITING_AT = datetime(9999, 1, 1, tzinfo=UTC)
"""The run_at of a job that waits for other jobs to end."""
_WAITING = "99990101T000000.000Z"

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_TIME = r"\d{8}T(?:[01]\d|2[0-3])\d{4}\.\d{3}Z"  # not 24:00, which newer Pythons accept as the next day
_COUNT = r"0|[1-9]\d{0,5}"
_WORKER = r"[a-z0-9_.]{1,20}\.[1-9]\d{0,9}\.[a-z0-9]{4}"
_DURATION = r"(?:0|[1-9]\d{0,9})\.\d{3}s"
_DURATION_ALONE = rf"(?a){_DURATION}"

# Compiled when first used: most commands never need most of them.
_PENDING = rf"(?a)(\d{{3}})-({_TIME})-({_COUNT})-({ID_PATTERN})\.json"
_RUNNING = rf"(?a)({_TIME})-(\d{{3}})-([1-9]\d{{0,5}})-({_WORKER})-({ID_PATTERN})\.json"
_FINISHED = rf"(?a)({_TIME})-(\d{{3}})-({_COUNT})-({RESULT_PATTERN})-({_DURATION})-({ID_PATTERN})\.json"

# The same among many names in one text, with a byte up to 14 before each name and a byte 0 after it. In bytes:
# decoding millions would cost a quarter as much as listing them. A pattern that begins with its rarest letters is
# the fastest: those with a lookbehind find nearly all names, `_FINISHED_WHOLE` finds all of them. Where
# matches are only counted, an empty group saves a copy of each.
_DATE_TIME = r"\d{4}[01]\d[0-3]\dT\d{6}\.\d{3}Z-"
_FINISHED_HEAD = rf"Z-()(?<=[\0-\x0e]{_DATE_TIME})\d{{3}}-".encode()
_TIME_LOOSE = rb"Z-(?<=(.{19})Z-)"
_FINISHED_LOOSE = rb"Z-(?<=[\0-\x0e].{8}T.{6}\..{3}Z-)\d{3}-([^-]+-[^-]+-[^-]+)-"
_FINISHED_STRICT = _FINISHED_HEAD + rf"(?:{_COUNT})-(?:{RESULT_PATTERN})-{_DURATION}-".encode()
_FINISHED_WHOLE = (
    rf"[\0-\x0e]({_DATE_TIME}\d{{3}}-(?:{_COUNT})-(?:{RESULT_PATTERN})-{_DURATION}-[^\0]+\.json)(?=\0)"
).encode()
_BEGIN = r"\x08(?<=[^\0]\0\x08)"
"""What precedes a name in a record of less than 256 bytes: the length, in two bytes, the second of which is 0 and so
cannot be part of a name, and an 8 for a regular file."""
PENDING_AMONG = _BEGIN + r"(\d{3}-\d{8}T\d{6}\.\d{3}Z-[^\0]+\.json)\0"
"""Names that look like ours in pending/, in the kernel's records: each is followed by a byte 0."""
FINISHED_AMONG = _BEGIN + r"(\d{8}T\d{6}\.\d{3}Z-\d{3}-[^\0]+\.json)\0"
"""The same in done/ and dead/."""
PENDING_FIELDS = rb"\d{3}-\d{8}T\d{6}\.\d{3}Z-\d{1,6}-"
"""What precedes the id in such a name."""
FINISHED_FIELDS = rb"\d{8}T\d{6}\.\d{3}Z-\d{3}-\d{1,6}-[a-z0-9]+-\d+\.\d{3}s-"
"""The same in done/ and dead/."""
PENDING_LOOSE = _BEGIN + r"([^\0]{23}Z-[^\0]+)\0"
"""What may be such a name, for callers that check those they keep: a quarter faster than `PENDING_AMONG`."""
_PENDING_NAME = rf"\d{{3}}-\d{{8}}T(?:[01]\d|2[0-3])[0-5]\d[0-5]\d\.\d{{3}}Z-(?:{_COUNT})-{ID_PATTERN}\.json"
_PENDING_STRICT = rf"\0(){_PENDING_NAME}(?=\0)".encode()

_TIME_LENGTH = len("20261124T034300.120Z")
_SECOND_IN_ISO = len("2026-11-24T03:43:00")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS_AS_0 = bytes.maketrans(b"123456789", b"000000000")


_compiled = cache(re.compile)


def is_valid_id(text: str) -> bool:
    return _compiled(ID_PATTERN).fullmatch(text) is not None


def format_time(at: datetime) -> str:
    """`at` (aware, UTC) cut to milliseconds: `20261124T034300.120Z`."""
    since = at - _EPOCH  # a fifth of the cost of `isoformat`
    return _format_second(since.days, since.seconds) + _format_rest(since.microseconds)


format_time_cached = lru_cache(maxsize=64)(format_time)
"""`format_time` of a time that is formatted again and again: an attempt's start, half a dozen times."""


@lru_cache(maxsize=64)
def _format_second(days: int, seconds: int) -> str:
    """All of a time up to its milliseconds; the arguments are what has passed since 1970."""
    return (_EPOCH + timedelta(days, seconds)).isoformat()[:_SECOND_IN_ISO].replace("-", "").replace(":", "")


@lru_cache(maxsize=1000)
def _format_rest(microseconds: int) -> str:
    """The milliseconds."""
    return f".{microseconds // 1000:03d}Z"


_number = lru_cache(maxsize=256)(int)  # the same few again and again, in a third of the time


_three_digits = lru_cache(maxsize=1000)("{:03d}".format)
"""Of a priority, in a tenth of the time."""


def parse_time(text: str) -> datetime:
    """Inverse of `format_time`; raises ValueError for a date that does not exist."""
    if not re.fullmatch(_TIME, text, re.ASCII):
        raise ValueError(f"not a time of the spool: {text!r}")
    return datetime.fromisoformat(text)


def format_rfc3339(at: datetime | None) -> str | None:
    """`2026-11-24T03:43:00.120Z`"""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def to_utc(at: datetime) -> datetime:
    """The instant, in UTC; a time without a zone is local time. Raises ValueError or OverflowError.

    Where clocks skip from 02:00 to 03:00, 02:30 is 03:30, with fold=1 01:30 (PEP 495). `datetime.astimezone` has
    that the other way round for local time (CPython 3.11.7), `timestamp` does not.
    """
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    return datetime.fromtimestamp(at.replace(microsecond=0).timestamp(), UTC).replace(microsecond=at.microsecond)


def parse_instant(text: str) -> datetime:
    """ISO 8601 -> UTC. A time without a zone is local time. Raises ValueError or OverflowError."""
    if not isinstance(text, str) or len(text) < len("2026-11-25T09:00"):
        raise ValueError(f"not a date and time: {text!r}")
    at = to_utc(datetime.fromisoformat(text.upper()))
    if not 1970 <= at.year <= 9998:
        raise ValueError(f"out of range: {text!r}")
    return at


def ceil_to_millisecond(at: datetime) -> datetime:
    """The first instant at or after `at` that a name can represent, so that no job starts early."""
    rest = at.microsecond % 1000
    return at + timedelta(microseconds=1000 - rest) if rest else at


class PendingName(NamedTuple):
    """`priority-run_at-attempts-id.json`"""

    priority: int
    run_at: datetime
    attempts: int
    id: str

    @property
    def is_held(self) -> bool:
        """Whether it waits for a `release`, not for a time."""
        return self.run_at.year >= HELD_AT.year and self.run_at != WAITING_AT

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for other jobs."""
        return self.run_at == WAITING_AT

    @property
    def is_asking(self) -> bool:
        """Whether it asks for its key, if its body has one."""
        return self.run_at.date() == ASKING_AT.date()

    def __str__(self) -> str:
        priority, run_at, attempts, id = self
        return f"{_three_digits(priority)}-{format_time(run_at)}-{attempts}-{id}.json"

    @classmethod
    def parse(cls, name: str) -> PendingName | None:
        """The value of a name of pending/; None if it is not exactly one of ours."""
        match = _compiled(_PENDING).fullmatch(name)
        if match is None:
            return None
        priority, run_at, attempts, id = match.groups()
        try:
            return cls(_number(priority), datetime.fromisoformat(run_at), _number(attempts), id)
        except ValueError:
            return None


class RunningName(NamedTuple):
    """`started_at-priority-attempt-worker-id.json`"""

    started_at: datetime
    priority: int
    attempt: int
    worker: str
    id: str

    def __str__(self) -> str:
        started_at, priority, attempt, worker, id = self
        return f"{format_time_cached(started_at)}-{_three_digits(priority)}-{attempt}-{worker}-{id}.json"

    @classmethod
    def parse(cls, name: str) -> RunningName | None:
        """The value of a name of running/; None if it is not exactly one of ours."""
        match = _compiled(_RUNNING).fullmatch(name)
        if match is None:
            return None
        try:
            return cls(datetime.fromisoformat(match[1]), int(match[2]), int(match[3]), match[4], match[5])
        except ValueError:
            return None


class FinishedName(NamedTuple):
    """`finished_at-priority-attempts-result-duration-id.json`; `duration` in milliseconds."""

    finished_at: datetime
    priority: int
    attempts: int
    result: Result
    duration_ms: int
    id: str

    @property
    def duration(self) -> float:
        """Seconds of the last attempt."""
        return self.duration_ms / 1000

    def __str__(self) -> str:
        finished_at, priority, attempts, result, duration_ms, id = self
        took = str(duration_ms).zfill(4)
        return (
            f"{format_time(finished_at)}-{_three_digits(priority)}-{attempts}"
            f"-{result}-{took[:-3]}.{took[-3:]}s-{id}.json"
        )

    @classmethod
    def parse(cls, name: str) -> FinishedName | None:
        """The value of a name of done/ or dead/; None if it is not exactly one of ours."""
        match = _compiled(_FINISHED).fullmatch(name)
        if match is None:
            return None
        try:
            result = Result.parse(match[4])
            at = datetime.fromisoformat(match[1])
        except ValueError:
            return None
        return cls(at, int(match[2]), int(match[3]), result, int(match[5][:-1].replace(".", "")), match[6])


Name = PendingName | RunningName | FinishedName


def parse_any(name: str) -> Name | None:
    """The value of a name of any of the four directories; None if it is foreign."""
    return PendingName.parse(name) or RunningName.parse(name) or FinishedName.parse(name)


def format_worker(host: str, pid: int, nonce: str) -> str:
    """`host.pid.nonce`, the host cut to 20 characters of [a-z0-9_.]."""
    cut = re.sub(r"[^a-z0-9_.]", "_", host.lower())[:20] or "localhost"
    return f"{cut}.{pid}.{nonce}"


def is_worker(text: str) -> bool:
    """Whether that is a worker's name."""
    return re.fullmatch(_WORKER, text, re.ASCII) is not None


def parse_worker(worker: str) -> tuple[str, int, str]:
    """(host, pid, nonce) of a worker's name; raises ValueError for anything else."""
    if not is_worker(worker):
        raise ValueError(f"not a worker's name: {worker!r}")
    host, pid, nonce = worker.rsplit(".", 2)
    return host, int(pid), nonce


def looks_pending(name: str) -> bool:
    """A cheap test, for listings of millions, that every name of a pending job passes, and hardly any other."""
    return (
        name[23:25] == "Z-"
        and name[3:4] == "-"
        and name[:3].isdigit()
        and name[4:12].isdigit()
        and name[8:12] < "1232"
        and name.endswith(SUFFIX)
    )


def pending_id(name: str) -> str:
    """The id in a name that looks like ours in pending/."""
    return name.split("-", 3)[-1].removesuffix(SUFFIX)


def looks_held(name: str) -> bool:
    """The same for held jobs."""
    return name[4:8] >= HELD_FROM and name[4:24] != _WAITING and looks_pending(name)


def looks_waiting(name: str) -> bool:
    """The same for jobs that wait for others."""
    return name[4:24] == _WAITING and looks_pending(name)


def is_pending(name: str) -> bool:
    """Whether `PendingName.parse` accepts that name: twice as fast, as no value is built."""
    return _compiled(rf"(?a){_PENDING_NAME}").fullmatch(name) is not None and _is_day(name[4:12])


@lru_cache(maxsize=1024)
def _is_day(text: str) -> bool:
    try:
        parse_time(f"{text}T000000.000Z")
    except ValueError:
        return False
    return True


def are_pending(names: list[bytes]) -> bool:
    """Whether `is_pending` is true of all of these: much faster than one by one."""
    found = re.findall(_PENDING_STRICT, b"\0%b\0" % b"\0".join(names))
    return len(found) == len(names) and all(_is_day(day.decode()) for day in {name[4:12] for name in names})


def looks_finished(name: str) -> bool:
    """The same for names of done/ and dead/."""
    return name[19:21] == "Z-" and name[:8].isdigit() and name[4:8] < "1232" and name.endswith(SUFFIX)


class FinishedTally:
    """How often each (attempts, result, milliseconds) occurs among names of done/ or dead/, and when the latest ended.

    In a text each name has a byte up to 14 before it and a byte 0 after it. A few patterns over all of it are
    several times as fast as parsing each name. Foreign names are left out.
    """

    def __init__(self, since: datetime) -> None:
        self._since = format_time(since).encode()[:-1]
        self._numbers: Counter[bytes] = Counter()
        self._values: dict[bytes, tuple[int, Result, int]] = {}

    @property
    def counts(self) -> Counter[tuple[int, Result, int]]:
        return Counter({self._values[fields]: number for fields, number in self._numbers.items()})

    def add(self, text: bytes) -> list[bytes]:
        """Tally the names in one text; the finishing times, without the Z and unordered, of those from `since` on."""
        found, times = re.findall(_FINISHED_LOOSE, text), re.findall(_TIME_LOOSE, text)
        if len(times) != len(found):  # an id, or what is between the names, can contain these letters too
            times = [time for time in times if time[8:9] == b"T" and time[15:16] == b"."]
        # Now every time of what was found is among them, so equal numbers mean that there are no others.
        if len(found) == len(times) == text.count(b".json\0") and _are_times(times) and self._understand(found):
            self._numbers.update(found)
            return [time for time in times if time >= self._since]
        names = re.findall(_FINISHED_WHOLE, text)
        found = [b"-".join(name.split(b"-", 5)[2:5]) for name in names]
        self._understand(found)
        self._numbers.update(found)
        return [name[: _TIME_LENGTH - 1] for name in names if name >= self._since]

    def _understand(self, found: list[bytes]) -> bool:
        """Parse these fields and remember their values; False if any is invalid."""
        try:
            self._values |= {fields: _parse_fields(fields) for fields in set(found).difference(self._values)}
        except ValueError:
            return False
        return True


def _are_times(texts: list[bytes]) -> bool:
    """Whether all of these look like times without the Z, as `_DATE_TIME` has them; column by column."""
    text, length = b"".join(texts), _TIME_LENGTH - 1
    if text.translate(_DIGITS_AS_0) != b"00000000T000000.000" * len(texts):
        return False
    return not text[4::length].strip(b"01") and not text[6::length].strip(b"0123")


def _parse_fields(fields: bytes) -> tuple[int, Result, int]:
    ending, _, duration = fields.decode().rpartition("-")
    attempts, result = _parse_ending(ending)
    if _compiled(_DURATION_ALONE).fullmatch(duration) is None:
        raise ValueError(f"not a duration: {duration!r}")
    return attempts, result, int(duration[:-1].replace(".", ""))


@lru_cache(maxsize=256)
def _parse_ending(text: str) -> tuple[int, Result]:
    """`1-exit0`; there are as many durations as jobs, but few of these."""
    attempts, _, result = text.partition("-")
    if not re.fullmatch(f"(?a){_COUNT}", attempts):
        raise ValueError(f"not a number of attempts: {attempts!r}")
    return int(attempts), Result.parse(result)


def count_finished(text: bytes) -> int:
    """How many names of done/ or dead/ there are in such a text."""
    number = len(re.findall(_FINISHED_STRICT, text))
    return number if number == text.count(b".json\0") else len(re.findall(_FINISHED_WHOLE, text))


def count_skipped(text: bytes) -> int:
    """How many of these are of jobs that were skipped."""
    if b"-skipped-" not in text:
        return 0
    return sum(name.split(b"-", 4)[3] == b"skipped" for name in re.findall(_FINISHED_WHOLE, text))


def is_ignored(name: str) -> bool:
    """Whether a file in pending/ is ignored because of its name: hidden, or not ending in `.json` (`~`, `.tmp`, …)."""
    return name.startswith(".") or not name.endswith(SUFFIX)


def looks_meant(name: str) -> bool:
    """Whether an ignored file may have been meant as a job: its name is not one of a file that some tool leaves."""
    if not is_ignored(name) or name.startswith((".", "#")):
        return False
    is_leftover = re.search(r"[~#]$|\.(te?mp|part(ial)?|filepart|crdownload|sw[a-z]|bak|orig|rej|lo?ck)$", name)
    return is_leftover is None or re.search(r"\.~\d+~$", name) is not None


def looks_copied(name: str) -> bool:
    """Whether a name is one of ours with something added, as sync tools and file managers name a copy."""
    ours = re.match(r"[A-Za-z0-9._-]*", name)
    assert ours is not None
    if ours[0] == name:
        return parse_any(name) is not None and is_conflict_copy(name.removesuffix(SUFFIX))
    return parse_any(f"{ours[0]}{SUFFIX}") is not None


def is_conflict_copy(id: str) -> bool:
    """Whether an id ends as Syncthing ends the name of a copy; the other tools use characters that no id has."""
    return re.search(r"\.sync-conflict-\d{8}-\d{6}(-[A-Z0-9]{7})?$", id) is not None


def id_from_file_name(name: str, suffix: str) -> str:
    """An id for a dropped file: its stem, cleaned and cut to fit, then `-` and the suffix."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name.removesuffix(SUFFIX))
    stem = re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"\.\.+|\.$", "_", stem))[: 99 - len(suffix)]
    return f"{stem or 'job'}-{suffix}"
