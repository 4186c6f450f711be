"""The judge of every fault: reads what producers, jobs and killers wrote down, and the spool, and says what disagrees.

An independent program. It shares no code with queuectl: the names of files are parsed here from the
design's text alone, so that a mistake in the product's own parser cannot hide itself.

    python tests/torture/checker.py SPOOL EVIDENCE [--settled]

EVIDENCE is a directory with three kinds of files of lines, each line one `write` on an O_APPEND descriptor:

    journal*   {"intent": ID, "body": {…}} before a producer submits, {"ack": ID} once its submit was acknowledged;
               {"change": ID, "body": {…}} and {"changed": ID} around a change of that job, {"cancel": ID} and
               {"cancelled": ID} around the end of it
    ledger     `S ID ATTEMPT PID` when a job begins, `E ID ATTEMPT CODE` before it ends, and `O ID ATTEMPT` when
               the job's own mutex was held by somebody else: an overlap, seen by the job itself
    kills      `ID ATTEMPT` before the shell of that attempt is killed
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("pending", "running", "done", "dead")
_RESULT = re.compile(
    r"exit(\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])|signal([1-9]|[1-5]\d|6[0-4])|timeout|lost|cancelled|invalid|skipped"
)
_ID_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_ID_REST = _ID_FIRST | frozenset("._-")
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class Entry:
    """One file of a state's directory."""

    state: str
    name: str
    id: str
    attempts: int
    result: str | None
    data: bytes | None


@dataclass
class Evidence:
    """What the participants wrote down."""

    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    proposed: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancelled: dict[str, bool] = field(default_factory=dict)
    starts: Counter[tuple[str, int]] = field(default_factory=Counter)
    ends: dict[tuple[str, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    order: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    overlaps: list[str] = field(default_factory=list)
    kills: set[tuple[str, int]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """What was found wrong, and figures of what was looked at."""

    problems: list[str]
    figures: dict[str, int]


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_time(text: str) -> bool:
    """YYYYMMDDTHHMMSS.mmmZ, of a day that exists."""
    if len(text) != 20 or text[8] != "T" or text[15] != "." or text[19] != "Z":
        return False
    if not all(_is_digits(part) for part in (text[:8], text[9:15], text[16:19])):
        return False
    month, day = int(text[4:6]), int(text[6:8])
    return (
        1 <= month <= 12
        and 1 <= day <= _DAYS[month - 1]
        and int(text[9:11]) < 24
        and int(text[11:13]) < 60
        and int(text[13:15]) < 60
    )


def _is_count(text: str) -> bool:
    return _is_digits(text) and (text == "0" or text[0] != "0") and len(text) <= 6


def _is_worker(text: str) -> bool:
    parts = text.rsplit(".", 2)
    if len(parts) != 3:
        return False
    host, pid, nonce = parts
    return (
        1 <= len(host) <= 20
        and set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.")
        and _is_digits(pid)
        and len(nonce) == 4
        and nonce.isascii()
        and nonce.isalnum()
    )


def _is_duration(text: str) -> bool:
    whole, dot, rest = text.partition(".")
    return bool(dot) and _is_digits(whole) and len(rest) == 4 and rest[3] == "s" and _is_digits(rest[:3])


def is_id(text: str) -> bool:
    return 1 <= len(text) <= 100 and text[0] in _ID_FIRST and set(text) <= _ID_REST


def parse(state: str, name: str) -> tuple[str, int, str | None] | None:
    """(id, attempts, result) of a name in that state's directory; None if it is not one of the design's."""
    if not name.endswith(".json"):
        return None
    stem = name[: -len(".json")]
    before = {"pending": 3, "running": 4, "done": 5, "dead": 5}[state]
    fields = stem.split("-", before)
    if len(fields) != before + 1 or not is_id(fields[-1]):
        return None
    id = fields[-1]
    if state == "pending":
        priority, at, attempts = fields[:3]
        good = len(priority) == 3 and _is_digits(priority) and _is_time(at) and _is_count(attempts)
        return (id, int(attempts), None) if good else None
    at, priority, attempts = fields[:3]
    if not (_is_time(at) and len(priority) == 3 and _is_digits(priority) and _is_count(attempts)):
        return None
    if state == "running":
        return (id, int(attempts), None) if _is_worker(fields[3]) and attempts != "0" else None
    if not (_RESULT.fullmatch(fields[3]) and _is_duration(fields[4])):
        return None
    return id, int(attempts), fields[3]


def read_spool(root: Path) -> tuple[list[Entry], list[str]]:
    """Every file of the four directories, and what is wrong with some."""
    entries, problems = [], []
    for state in STATES:
        for name in sorted(os.listdir(root / state)):
            value = parse(state, name)
            if value is None:
                problems.append(f"{state}/{name}: not a name of the design")
                continue
            path = root / state / name
            data = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
            entries.append(Entry(state, name, *value, data))
    return entries, problems


def _lines(path: Path) -> Iterator[str]:
    """Whole lines. A torn last one was never finished by its writer: it was killed."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        yield line.decode("utf-8", "replace")


def read_evidence(directory: Path) -> Evidence:
    found = Evidence()
    for path in sorted(directory.glob("journal*")):
        for line in _lines(path):
            entry = json.loads(line)
            if "intent" in entry:
                found.bodies[entry["intent"]] = entry["body"]
            elif "change" in entry:
                found.proposed[entry["change"]] = entry["body"]
            elif "changed" in entry:
                found.bodies[entry["changed"]] = found.proposed.pop(entry["changed"])
            elif "cancel" in entry or "cancelled" in entry:
                found.cancelled[entry.get("cancel") or entry["cancelled"]] = "cancelled" in entry
            else:
                found.acknowledged.add(entry["ack"])
    ledger = directory / "ledger"
    for line in _lines(ledger) if ledger.exists() else ():
        words = line.split()
        if len(words) < 3 or words[0] not in "SEO":
            found.problems.append(f"the ledger has a torn line: {line!r}")
            continue
        kind, id, attempt = words[0], words[1], int(words[2])
        if kind == "O":
            found.overlaps.append(f"{id}: attempt {attempt} met another of the same job")
        elif kind == "S":
            found.starts[id, attempt] += 1
            found.order[id].append(("S", attempt))
        else:
            found.ends[id, attempt].append(int(words[3]))
            found.order[id].append(("E", attempt))
    kills = directory / "kills"
    for line in _lines(kills) if kills.exists() else ():
        id, attempt_text = line.split()
        found.kills.add((id, int(attempt_text)))
    return found


@dataclass(frozen=True)
class Logged:
    """One attempt according to the log: its outcome, None if no end line follows the start line."""

    attempt: int
    outcome: str | None


def read_log(path: Path) -> list[Logged]:
    """The attempts in a job's log, in order."""
    found: list[Logged] = []
    if not path.exists():
        return found
    data, number = b"", 1
    while (part := path.with_name(f"{path.name}.{number}")).exists():  # of a spool that several hosts share
        data += b"" if part.samefile(path) else part.read_bytes()
        number += 1
    data += path.read_bytes()
    for line in data.split(b"\n"):
        if not line.startswith(b"#queuectl "):
            continue
        words = line.decode("utf-8", "replace").split()
        fields = dict(word.split("=", 1) for word in words[2:] if "=" in word)
        if words[1] == "start":
            found.append(Logged(int(fields["attempt"]), None))
        elif words[1] == "end":
            for index in range(len(found) - 1, -1, -1):
                if found[index].attempt == int(fields["attempt"]):
                    found[index] = Logged(found[index].attempt, _outcome(fields))
                    break
            else:
                found.append(Logged(int(fields["attempt"]), _outcome(fields)))
    return found


def _outcome(fields: dict[str, str]) -> str:
    if "exit" in fields:
        return f"exit{fields['exit']}"
    if "signal" in fields:
        return f"signal{fields['signal']}"
    if "status" in fields:
        status = int(fields["status"])
        return f"signal{status - 128}" if 128 < status <= 192 else f"exit{status}"
    return fields.get("result", "?")


def _is_one_file(root: Path, entries: list[Entry]) -> bool:
    return len({(root / entry.state / entry.name).lstat().st_ino for entry in entries}) == 1


def check(
    root: Path, evidence: Path, *, is_settled: bool = True, may_run_again: bool = False, trust_logs: bool = True
) -> Verdict:
    """What of ledger, spool and logs disagrees.

    `is_settled`: nothing may be pending or running any more. `may_run_again`: the machine lost power, so that
    an attempt whose end was not yet durable may be repeated. `trust_logs`: unless the disk had no room for them.
    """
    seen = read_evidence(evidence)
    entries, problems = read_spool(root)
    problems += seen.problems + seen.overlaps
    by_id: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_id[entry.id].append(entry)
    for id, held in by_id.items():
        may_be_one = may_run_again and not is_settled  # at once after the cut, as btrfs leaves it
        if len(held) > 1 and not (may_be_one and _is_one_file(root, held)):
            problems.append(f"{id}: {len(held)} files: {', '.join(f'{e.state}/{e.name}' for e in held)}")
        if id not in seen.bodies:
            problems.append(f"{id}: nobody submitted it")
    for id in seen.acknowledged - by_id.keys():
        problems.append(f"{id}: acknowledged, and lost")
    for id, held in by_id.items():
        if id in seen.bodies:
            is_changed = id in seen.proposed and not [*_check_body(held[0], seen.proposed[id])]
            problems += [] if is_changed else _check_body(held[0], seen.bodies[id])
            logs = root / "logs" if trust_logs else None
            problems += _check_attempts(logs, held[0], seen, may_run_again=may_run_again)
        if seen.cancelled.get(id) and held[0].result != "cancelled":
            problems.append(f"{id}: its cancel was acknowledged, and it ended as {held[0].result}")
        if is_settled and held[0].state in ("pending", "running"):
            problems.append(f"{id}: still {held[0].state}")
    for id, attempt in seen.starts:
        if id not in by_id:
            problems.append(f"{id}: attempt {attempt} ran, and the job is gone")
    figures = {
        "submitted": len(seen.bodies),
        "acknowledged": len(seen.acknowledged),
        "attempts": sum(seen.starts.values()),
        "killed": len(seen.kills),
        "overlaps": len(seen.overlaps),
        "done": sum(entry.state == "done" for entry in entries),
        "dead": sum(entry.state == "dead" for entry in entries),
    }
    return Verdict(problems, figures)


def _check_body(entry: Entry, body: dict[str, Any]) -> Iterator[str]:
    if entry.data is None:
        yield f"{entry.id}: {entry.state}/{entry.name} is not a regular file"
        return
    try:
        found = json.loads(entry.data)
    except ValueError:
        yield f"{entry.id}: torn file of {len(entry.data)} bytes: {entry.state}/{entry.name}"
        return
    if {key: found.get(key) for key in body} != body or set(found) - set(body) - {"id", "cwd"}:
        yield f"{entry.id}: the body is not what was submitted"


def _check_attempts(logs: Path | None, entry: Entry, seen: Evidence, *, may_run_again: bool) -> Iterator[str]:
    """Ledger, log and name of one job agree."""
    id, body = entry.id, seen.bodies[entry.id]
    code = body.get("torture_code")
    if code is None:
        return  # not one of the jobs that keep the ledger
    if may_run_again:
        if entry.state in ("done", "dead") and entry.result not in (f"exit{code}", "lost"):
            yield f"{id}: ended as {entry.result}, its command as exit{code}"
        return
    starts = {attempt: count for (job, attempt), count in seen.starts.items() if job == id}
    for attempt, count in starts.items():
        if count > 1:
            yield f"{id}: attempt {attempt} ran {count} times"
    yield from _check_order(id, seen)
    if entry.state not in ("done", "dead") or (id in seen.cancelled and entry.result == "cancelled"):
        return
    if set(starts) - set(range(1, entry.attempts + 1)):
        yield f"{id}: ran attempts {sorted(starts)}, but its name counts {entry.attempts}"
    if logs is None:
        if entry.result != f"exit{code}" or seen.ends.get((id, entry.attempts)) != [code]:
            yield f"{id}: ended as {entry.result}, its command as exit{code}"
        return
    logged = [line for line in read_log(logs / f"{id}.log") if line.outcome != "released"]
    if [line.attempt for line in logged] != list(range(1, entry.attempts + 1)):
        yield f"{id}: {entry.attempts} attempts by its name, {[line.attempt for line in logged]} by its log"
        return
    for line in logged:
        yield from _check_outcome(id, line, code, seen)
    yield from _check_end(entry, logged, body.get("max_retries", 3) + 1)


def _check_outcome(id: str, line: Logged, code: int, seen: Evidence) -> Iterator[str]:
    """What the log says of an attempt is what the job itself said."""
    good = f"exit{code}"
    if line.outcome != good:
        if (id, line.attempt) not in seen.kills or line.outcome not in ("signal9", "lost", None):
            yield f"{id}: attempt {line.attempt} is logged as {line.outcome}, its command ends as {good}"
        return
    if seen.starts[id, line.attempt] != 1:
        yield f"{id}: attempt {line.attempt} is logged as {good}; the job itself never began"
    if seen.ends.get((id, line.attempt)) != [code]:
        yield f"{id}: attempt {line.attempt} is logged as {good}; the job itself never said so"


def _check_end(entry: Entry, logged: list[Logged], limit: int) -> Iterator[str]:
    """It continued as long as it had to, and is where it belongs."""
    if "exit0" in [line.outcome for line in logged[:-1]]:
        yield f"{entry.id}: ran again after it had succeeded"
    if logged and (logged[-1].outcome or "lost") != entry.result:
        yield f"{entry.id}: {entry.state}/{entry.name} says {entry.result}, its log {logged[-1].outcome}"
    if (entry.result == "exit0") != (entry.state == "done"):
        yield f"{entry.id}: {entry.result} lies in {entry.state}/"
    if entry.state == "dead" and entry.attempts != limit:
        yield f"{entry.id}: gave up after {entry.attempts} of {limit} attempts"


def _check_order(id: str, seen: Evidence) -> Iterator[str]:
    """No attempt begins before the one before it ended, unless that was killed."""
    open_attempt = None
    for kind, attempt in seen.order[id]:
        if kind == "E":
            if open_attempt != attempt:
                yield f"{id}: attempt {attempt} ended after another had begun"
            open_attempt = None
        else:
            if open_attempt is not None and (id, open_attempt) not in seen.kills:
                yield f"{id}: attempt {attempt} began while attempt {open_attempt} ran"
            open_attempt = attempt


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    verdict = check(Path(arguments[0]), Path(arguments[1]), is_settled="--settled" in arguments)
    for problem in verdict.problems[:100]:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(" ".join(f"{key}={value}" for key, value in verdict.figures.items()) + "\n")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
