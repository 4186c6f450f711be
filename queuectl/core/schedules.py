"""Schedules: what `schedules/NAME.json` says, and which of its ticks are due.

A tick is a time in UTC. It depends on the expression and the zone alone, never on when anybody looks. Its job has the
id `NAME.20301001T0230Z`, so that it can be submitted once, and is a job of the group NAME.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from queuectl.core import body, groups
from queuectl.core.cron import Cron
from queuectl.core.fields import Body
from queuectl.core.when import parse_duration
from queuectl.errors import InvalidJobError, UsageError

MAX_NAME = 83
"""Characters of a schedule's name: with a dot and a time to the second it is still an id."""
KEYS = ("cron", "every", "timezone", "catch_up", "overlap", "jitter")
"""The fields of a schedule's file that its jobs do not have."""
LATE = timedelta(minutes=1)
"""A tick that is not submitted within this time counts as missed."""
MOST_CAUGHT_UP = 100
CATCH_UP = ("none", "last", "all")
OVERLAP = ("skip", "queue")
RUN_MARK = "run-"
"""How the last part of the id begins of a job that `queuectl schedule run` has submitted."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = re.compile(r"(?a)(.+)\.(\d{8}T(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?Z)")
_LONGEST = 366 * 86400
_NOT_OF_A_SCHEDULE = {
    "id": "each job's id is the schedule's name and its time",
    "group": "the group of its jobs is the schedule's name",
    "run_at": "its jobs start at its times",
}
_MILLISECOND = timedelta(milliseconds=1)
_WINDOWS = (3600.0, 86400.0, 32 * 86400.0, 400 * 86400.0)


class Every(NamedTuple):
    """The same time again and again, counted from 1970 in UTC."""

    text: str
    seconds: int

    def ticks(self, after: datetime, zone: tzinfo) -> Iterator[datetime]:
        """As `Cron.ticks`; the zone does not matter."""
        number = (after - _EPOCH) // timedelta(seconds=self.seconds)
        while True:
            number += 1
            try:
                yield _EPOCH + timedelta(seconds=number * self.seconds)
            except OverflowError:
                return

    def explain(self) -> str:
        return f"Every {self.text}, counted from 1970-01-01T00:00:00Z"

    def __str__(self) -> str:
        return f"every {self.text}"


class Schedule(NamedTuple):
    """A valid schedule. `job` are the fields of its jobs; `catch_up` is a word of CATCH_UP, or a number of seconds."""

    name: str
    when: Cron | Every
    zone_name: str
    zone: tzinfo
    catch_up: str | float
    overlap: str
    jitter: float
    job: Mapping[str, Any]
    body: Body

    @property
    def delay(self) -> timedelta:
        """How much later than its tick each job starts: up to `jitter`, and always the same for one name."""
        from hashlib import sha256  # rarely needed

        share = int(sha256(self.name.encode()).hexdigest()[:8], 16) / (1 << 32)
        return int(self.jitter * share * 1000) * _MILLISECOND

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """The ticks later than `after`, in order."""
        return self.when.ticks(after, self.zone)

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """The ticks later than `after` and no later than `until`."""
        found = []
        for tick in self.ticks(after) if after < until else ():
            if tick > until:
                break
            found.append(tick)
        return found

    def newest(self, after: datetime, until: datetime, number: int) -> list[datetime]:
        """The last so many of `between`, without going through all of them."""
        for seconds in _WINDOWS:
            begin = until - timedelta(seconds=seconds)
            if begin <= after:
                break
            found = self.between(begin, until)
            if len(found) >= number:
                return found[-number:]
        return self.between(after, until)[-number:]

    def due(self, since: datetime, now: datetime) -> list[datetime]:
        """The ticks later than `since` that are to be submitted at `now`, in order.

        Those of the last minute are, all of them. Earlier ones were missed: what becomes of them says `catch_up`.
        """
        limit = now - LATE - _MILLISECOND
        on_time = self.between(max(since, limit), now)
        if self.catch_up == "none" or since >= limit:
            return on_time
        if self.catch_up == "all":
            return self.newest(since, limit, MOST_CAUGHT_UP) + on_time
        if on_time:  # later than all that was missed
            return on_time
        if isinstance(self.catch_up, float):
            since = max(since, now - timedelta(seconds=self.catch_up))
        return self.newest(since, limit, 1)

    def is_missed(self, tick: datetime, now: datetime) -> bool:
        """Whether it is too late for that tick to be submitted but for `catch_up`."""
        return tick < now - LATE

    def id_of(self, tick: datetime) -> str:
        """The id of that tick's job; with seconds if `every` needs them."""
        has_seconds = tick.second or (isinstance(self.when, Every) and self.when.seconds % 60)
        return f"{self.name}.{tick.strftime('%Y%m%dT%H%M%SZ' if has_seconds else '%Y%m%dT%H%MZ')}"

    def fields_of(self, id: str, tick: datetime) -> dict[str, Any]:
        """The body of a job of this schedule, which has the time of its tick in its environment."""
        run_at = {"run_at": f"{(tick + self.delay).isoformat(timespec='milliseconds')[:-6]}Z"} if self.jitter else {}
        env = {**(self.job.get("env") or {}), "QUEUECTL_TICK": tick.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return {**self.job, **run_at, "id": id, "env": env}


def is_name(text: str) -> bool:
    """Whether a schedule can have that name."""
    return len(text) <= MAX_NAME and groups.is_name(text)


def require_name(text: str) -> str:
    """The name of a schedule, as it is; raises UsageError for what cannot be one."""
    if not is_name(text):
        why = (
            f"a name has up to {MAX_NAME} letters, digits, dots, dashes and underscores, begins with a letter or digit"
        )
        raise UsageError(f"not a name of a schedule: {text[:100]!r}", f"{why}, and ends in no dot")
    return text


def parse_id(id: str) -> tuple[str, datetime] | None:
    """The schedule and the tick that an id names; None for any other id."""
    if not id.endswith("Z"):
        return None
    match = _TICK.fullmatch(id)
    if match is None:
        return None
    try:
        return match[1], datetime.strptime(f"{match[2][:-1]:0<15}", "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def is_of(id: str, name: str) -> bool:
    """Whether the schedule of that name has submitted it: a tick, or a run by hand."""
    if not groups.is_in(id, name):
        return False
    return id.startswith(RUN_MARK, len(name) + 1) or (parse_id(id) or ("",))[0] == name


def parse(name: str, fields: Mapping[str, Any], load_zone: Callable[[str], tzinfo]) -> Schedule:
    """The schedule of a file's fields; raises InvalidJobError with every problem found."""
    problems: list[str] = []
    given = {key: value for key in KEYS if (value := fields.get(key)) is not None}
    job = {key: value for key, value in fields.items() if key not in KEYS}
    problems += [f'"{key}" is not for a schedule: {why}' for key, why in _NOT_OF_A_SCHEDULE.items() if job.get(key)]
    content = _body_of(job, problems)
    when = _when(given, problems)
    zone_name, zone = _zone(given.get("timezone", "UTC"), load_zone, problems)
    catch_up, overlap = given.get("catch_up", "last"), given.get("overlap", "skip")
    if catch_up not in CATCH_UP:
        catch_up = _seconds(catch_up, f'"catch_up" must be {", ".join(CATCH_UP)}, or a time such as "6h"', problems)
    if overlap not in OVERLAP:
        problems.append('"overlap" must be "skip" or "queue"')
    jitter = _seconds(given.get("jitter", 0), '"jitter" must be a time such as "10m"', problems)
    if problems or content is None or when is None:
        error = InvalidJobError(problems)
        error.what = "this is not a schedule"
        raise error
    return Schedule(name, when, zone_name, zone, catch_up, overlap, jitter, job, content)


def _body_of(job: Mapping[str, Any], problems: list[str]) -> Body | None:
    try:
        return body.validate(job)
    except InvalidJobError as error:
        problems.extend(error.problems)
        return None


def _when(given: Mapping[str, Any], problems: list[str]) -> Cron | Every | None:
    if ("cron" in given) == ("every" in given):
        problems.append('it needs "cron" or "every"' if "cron" not in given else 'it has both "cron" and "every"')
        return None
    try:
        return parse_cron(given["cron"]) if "cron" in given else parse_every(given["every"])
    except UsageError as error:
        problems.append(": ".join(filter(None, (error.what, error.why or error.hint))))
        return None


def parse_cron(text: object) -> Cron:
    """Raises UsageError."""
    if not isinstance(text, str):
        raise UsageError(f"not a cron expression: {text!r:.60}", hint="try '30 2 * * 1-5'")
    return Cron(text)


def parse_every(value: object) -> Every:
    """Of `15m`, or a number of seconds. Raises UsageError."""
    hint = "try 15m, 1h or 30s"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str):
        raise UsageError(f"not a time to repeat after: {value!r:.60}", hint=hint)
    seconds = parse_duration(f"{value}")
    if seconds != int(seconds) or not 1 <= seconds <= _LONGEST:
        raise UsageError(f"not a time to repeat after: {value!r:.60}", "it is whole seconds, up to a year", hint)
    return Every(f"{value}" if isinstance(value, str) else f"{int(seconds)}s", int(seconds))


def _zone(name: object, load_zone: Callable[[str], tzinfo], problems: list[str]) -> tuple[str, tzinfo]:
    try:
        if isinstance(name, str):
            return name, load_zone(name)
        problems.append('"timezone" must be a name such as "Europe/Vienna"')
    except UsageError as error:
        problems.append(": ".join(filter(None, (error.what, error.why or error.hint))))
    return "UTC", UTC


def _seconds(value: object, problem: str, problems: list[str]) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            seconds = parse_duration(f"{value}")
            if seconds <= _LONGEST:
                return seconds
        except UsageError:
            pass
    problems.append(problem)
    return 0.0
