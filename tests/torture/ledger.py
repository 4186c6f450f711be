"""The ledger of a storm over containers, and its judge: one file of lines, in the order in which they were written.

An independent program, as `checker` is: it shares no code with queuectl. Every line is one write(2) on a descriptor
opened with O_APPEND, by an agent or by a job, so the order of two lines is the order of what they say:

    > NUMBER KIND ID WALL     an agent is about to do that to a job; WALL is the time of the day, in seconds
    < NUMBER ok|no|? WALL     it was acknowledged, refused, or the agent was killed in the middle of it
    S ID ATTEMPT TOKEN V…     a job begins; V… are the values of the variables that `set` gave it
    E ID ATTEMPT TOKEN CODE   it is about to exit
    O ID ATTEMPT TOKEN        its own mutex is held: an overlap, seen by the job itself
    # …                       for people
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from tests.torture import checker

RESTARTS = ("retry", "mv-running", "mv-dead")
"""What may bring about another attempt of a job that had ended, or was cancelled."""
REMOVALS = ("rm", "drop", "prune")
SETTERS = 3
_EVER = 1 << 60


class Ledger:
    """The writer's side. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._number = 0

    def say(self, text: str) -> None:
        os.write(self._fd, f"{text}\n".encode())

    def begin(self, kind: str, id: str) -> int:
        with self._lock:
            self._number += 1
            number = self._number
        self.say(f"> {number} {kind} {id} {time.time():.3f}")
        return number

    def end(self, number: int, outcome: str) -> None:
        self.say(f"< {number} {outcome} {time.time():.3f}")


@dataclass
class Act:
    """What an agent did: between the lines `begin` and `end` it happened, if it did."""

    number: int
    kind: str
    id: str
    begin: int
    end: int = _EVER
    outcome: str = "?"
    at: float = float("inf")

    def may_restart(self, start: Start) -> bool:
        """Whether it may have brought about another attempt than this one, by the time of this one's claim.

        Not by its line: a shell may be slow to write that, and by then its job lie elsewhere.
        """
        return self.kind in RESTARTS and self.outcome != "no" and self.at > start.claimed_at - 0.002


@dataclass
class Start:
    """An attempt: the line in which it began, and the code with which it was about to exit."""

    id: str
    attempt: int
    token: str
    line: int
    values: list[int]
    code: int | None = None
    ended: float = math.inf  # the line of that

    @property
    def started_at(self) -> str:
        return self.token.split(":")[1]

    @property
    def claimed_at(self) -> float:
        at = datetime.strptime(self.started_at, "%Y%m%dT%H%M%S.%fZ")
        return at.replace(tzinfo=UTC).timestamp()


@dataclass
class Verdict:
    problems: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)


@dataclass
class Story:
    """All that the ledger says."""

    acts: dict[str, list[Act]] = field(default_factory=lambda: defaultdict(list))
    starts: dict[str, list[Start]] = field(default_factory=lambda: defaultdict(list))
    overlaps: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def about(self, id: str) -> str:
        """The lines about one job, for people."""
        numbers = {str(act.number) for act in self.acts[id]}
        chosen = [
            f"{index}: {line}"
            for index, line in enumerate(self.lines)
            if f" {id} " in f"{line} " or (line.startswith("< ") and line.split()[1] in numbers)
        ]
        return "\n    ".join(chosen[-40:])

    def all_acts(self) -> Iterator[Act]:
        for acts in self.acts.values():
            yield from acts


def read(path: Path) -> Story:
    story, by_number, by_token = Story(), {}, {}
    story.lines = path.read_text(errors="replace").splitlines()
    for index, line in enumerate(story.lines):
        words = line.split()
        try:
            if words[0] == ">":
                act = by_number[words[1]] = Act(int(words[1]), words[2], words[3], index)
                story.acts[act.id].append(act)
            elif words[0] == "<":
                act = by_number[words[1]]
                act.outcome = words[2]
                if act.outcome != "?":  # the one that is killed may have been the last to act
                    act.at, act.end = float(words[3]), index
            elif words[0] == "S":
                start = Start(words[1], int(words[2]), words[3], index, [int(word) for word in words[4:]])
                by_token[start.token, start.attempt] = start
                story.starts[start.id].append(start)
            elif words[0] == "E":
                ended = by_token[words[3], int(words[2])]
                ended.code, ended.ended = int(words[4]), index
            elif words[0] == "O":
                story.overlaps.append(words[1])
            elif words[0] != "#":
                story.torn.append(line)
        except (IndexError, ValueError, KeyError):
            story.torn.append(line)
    return story


def judge(spool: Path, path: Path) -> Verdict:
    """What of the ledger, the spool and its logs disagrees. Nothing may be pending or running any more."""
    story, verdict = read(path), Verdict()
    entries, problems = checker.read_spool(spool)
    by_id: dict[str, list[checker.Entry]] = defaultdict(list)
    for entry in entries:
        by_id[entry.id].append(entry)
    found: list[tuple[str | None, str]] = [(None, text) for text in problems]
    found += [(None, f"torn line: {line}") for line in story.torn]
    found += [(id, f"{id}: two attempts at once") for id in story.overlaps]
    for id in {*story.acts, *story.starts, *by_id}:
        log = spool / "logs" / f"{id}.log"
        ends = _ends(log)
        for text in (
            *_check_place(id, by_id[id], story),
            *_check_cancels(id, story),
            *_check_repeats(id, story, ends),
            *_check_changes(id, story),
            *(_check_result(id, by_id[id][0], story, ends) if by_id[id] else ()),
        ):
            found.append((id, f"{id}: {text}"))
    verdict.problems = [text + (_detail(spool, story, id) if id else "") for id, text in found]
    verdict.figures.update(act.kind for act in story.all_acts())
    verdict.figures["attempts"] = sum(map(len, story.starts.values()))
    verdict.figures["acts"] = sum(1 for _ in story.all_acts())
    verdict.figures["acknowledged"] = sum(act.outcome == "ok" for act in story.all_acts())
    verdict.figures["killed"] = sum(act.outcome == "?" for act in story.all_acts())
    return verdict


def _detail(spool: Path, story: Story, id: str) -> str:
    """What people need in order to see how it came about."""
    path = spool / "logs" / f"{id}.log"
    text = path.read_text(errors="replace") if path.exists() else ""
    own = [line for line in text.splitlines() if line.startswith("#queuectl")]
    return f"\n    {story.about(id)}\n    log:\n    " + "\n    ".join(own[-30:])


def _ends(log: Path) -> dict[str, list[str]]:
    """started_at -> the outcomes that its end lines say, in order.

    Not what a shell has written after the note that it is being ended: a job may take SIGTERM and exit with 0.
    """
    found: dict[str, list[str]] = defaultdict(list)
    ending = set()
    for line in log.read_bytes().split(b"\n") if log.exists() else ():
        words = line.decode("utf-8", "replace").split()
        fields = dict(word.split("=", 1) for word in words[2:] if "=" in word)
        at = fields.get("started_at")
        if at and words[:3] == ["#queuectl", "note", "ending"]:
            ending.add(at)
        elif at and words[:2] == ["#queuectl", "end"] and (at not in ending or fields.keys() & {"result", "bytes"}):
            found[at].append(checker._outcome(fields))
    return found


def _check_place(id: str, held: list[checker.Entry], story: Story) -> Iterator[str]:
    acts = story.acts[id]
    if len(held) > 1:
        yield f"{len(held)} files: {', '.join(f'{entry.state}/{entry.name}' for entry in held)}"
    for entry in held:
        if entry.state in ("pending", "running"):
            yield f"still {entry.state}"
        if entry.result == "invalid":
            yield f"refused: {entry.name}"
        if entry.data is None or not isinstance(json.loads(entry.data or b"0"), dict):
            yield f"{entry.name} is not a whole body"
    is_submitted = any(act.kind in ("enqueue", "drop-file") and act.outcome == "ok" for act in acts)
    if is_submitted and not held and not any(act.kind in REMOVALS and act.outcome != "no" for act in acts):
        yield "acknowledged, and lost"


def _check_cancels(id: str, story: Story) -> Iterator[str]:
    """After an acknowledged cancel nothing starts, unless somebody may have retried it since the cancel began."""
    restarts = [act for act in story.acts[id] if act.kind in RESTARTS and act.outcome != "no"]
    for cancel in story.acts[id]:
        if cancel.kind != "cancel" or cancel.outcome != "ok":
            continue
        for start in story.starts[id]:
            if start.line > cancel.end and not any(r.end > cancel.begin and r.begin < start.line for r in restarts):
                yield f"line {start.line} starts after the cancel that line {cancel.end} acknowledged"


def _check_repeats(id: str, story: Story, ends: dict[str, list[str]]) -> Iterator[str]:
    """What has written exit=0 does not run again by itself, and no claim runs twice."""
    starts = story.starts[id]
    tokens = Counter(start.token for start in starts)
    for token, count in tokens.items():
        if count > 1:
            yield f"{token} began {count} times"
    for one, other in pairwise(starts):
        said = ends.get(one.started_at, [])
        if "exit0" in said[:1] and not any(act.may_restart(one) and act.begin < other.line for act in story.acts[id]):
            yield f"ran again (line {other.line}) after exit=0 of the attempt of line {one.line}"


def _check_changes(id: str, story: Story) -> Iterator[str]:
    """An attempt that was claimed after an acknowledged change runs with it."""
    for act in story.acts[id]:
        if not act.kind.startswith("set") or act.outcome != "ok":
            continue
        setter = int(act.kind[3:])
        for start in story.starts[id]:
            if start.claimed_at > act.at + 0.002 and start.values[setter] < act.number:
                yield f"the attempt of line {start.line} ran without the change that line {act.end} acknowledged"


def _check_result(id: str, entry: checker.Entry, story: Story, ends: dict[str, list[str]]) -> Iterator[str]:
    """What the name says of the last attempt is what the job, and its shell's own end line, said."""
    starts = story.starts[id]
    if entry.result is None or not starts:
        if entry.result is not None and entry.result.startswith("exit") and not starts:
            yield f"is {entry.result}, and never began"
        return
    last = max(starts, key=lambda start: start.started_at)
    if max(ends, default="") > last.started_at:
        return  # an attempt that was ended before it could say a word
    said = ends.get(last.started_at, [])
    own = said[0] if said else None
    if entry.result == "exit0" and last.code != 0:
        yield f"is exit0, and its last attempt (line {last.line}) never said so"
    if entry.result.startswith("exit") and own != entry.result:
        yield f"is {entry.result}, its log says {said} of its last attempt"
    if own == "exit0" and entry.result not in ("exit0", "cancelled"):
        yield f"is {entry.result} though its last attempt wrote exit=0"
    is_restarted = any(act.may_restart(last) for act in story.acts[id])
    cancels = [act for act in story.acts[id] if act.kind == "cancel"]
    is_clear = all(act.outcome != "?" and not (act.begin < last.ended and act.end > last.line) for act in cancels)
    if own == "exit0" and entry.result == "cancelled" and is_clear and not is_restarted:
        yield "is cancelled though its last attempt had written exit=0 before"
    for outcomes in ends.values():
        # Its worker may have been stopped as it was about to write that, of a job whose cancel had decided.
        is_late = outcomes[1:] == ["cancelled"] and entry.result == "cancelled"
        if len(outcomes) > 1 and outcomes[0] == "exit0" and not is_late:
            yield f"one attempt has ended as {outcomes}"
