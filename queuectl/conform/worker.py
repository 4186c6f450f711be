"""The rules of a worker: a command that works on the spool in QUEUECTL_SPOOL until it gets SIGTERM.

Its sessions are in `life`, `sharing`, `orphans` and `storm`; this module has the rules, and starts the worker.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from queuectl.conform.spec import Entry, Spool, await_that, is_flocked, is_worker
from queuectl.conform.verdict import Problems, Rule

FILE = Rule(
    "worker-file", "its file in workers/ is locked from the first moment, and says worker, host, pid and boot_id"
)
CLAIM = Rule(
    "claim", "a claim is one rename, to a name with its own name, the next attempt and the same priority and bytes"
)
START = Rule("start-line", "the log begins with a start line of the attempt, with the pid of the job's process group")
END = Rule("end-line", "each attempt has one end line, on a line of its own, that agrees with the job's name")
LOCK = Rule(
    "lock", "the attempt's byte of the log is locked for as long as a process of the job lives, also after kill -9"
)
ENVIRONMENT = Rule("environment", "a job has its variables, env, params and cwd, and none that are another job's")
STREAMS = Rule("streams", "stdin is /dev/null, stdout and stderr are the log, and the worker's descriptors are closed")
SESSION = Rule("session", "the job's shell leads a session of its own")
RESULTS = Rule(
    "results", "exit codes, signals and arrays end as they should, in done/ or dead/, without a change of a byte"
)
RETRIES = Rule("retries", "a failed job is tried again max_retries times, and retry_on and no_retry_on are obeyed")
BACKOFF = Rule(
    "backoff", "the next attempt is due after min(backoff_max, backoff_base ** attempts), and up to the jitter more"
)
TIMEOUT = Rule(
    "timeout", "at its timeout every process of the job is ended, by SIGKILL after the grace, and the result is timeout"
)
HELD = Rule("held", "what is held, waits, asks for its key or is due later is not touched")
ORDER = Rule("order", "due jobs start in the order of their names")
PAUSE = Rule("pause", "while there is a file paused nothing starts, and after that it does")
ADOPT = Rule("adopt", "a dropped file becomes a job under a canonical name, with an id made of its name, or its own")
IGNORE = Rule(
    "ignore", "names that begin with a dot or end otherwise, and a file that does not parse yet, are left alone"
)
REFUSE = Rule("refuse", "what is no job, or has the id of another, goes to dead/ as invalid, its bytes unchanged")
CANCEL = Rule("cancel", "a job whose file has left running/ is ended within a rescan, and nothing is put back")
STOP = Rule("stop", "after SIGTERM it claims nothing, waits for what runs, removes its file and exits with 0")
ENDED = Rule("rescue-ended", "of a dead worker's job whose end line is there that line counts, whoever holds the lock")
UNSTARTED = Rule(
    "rescue-unstarted", "a dead worker's job that has not started is given back, and the attempt does not count"
)
LOST = Rule(
    "rescue-lost", "a dead worker's job that started and has no end line, its lock free, is lost: a failed attempt"
)
ALIVE = Rule(
    "rescue-alive",
    "a dead worker's job that still runs is adopted by a rename, not started again, and settled at its end",
)
OTHERS = Rule("rescue-others", "jobs of workers that live, or of other hosts, are left alone")
KILLED = Rule(
    "killed", "after kill -9 at each step the next worker ends what runs or ran, and no attempt is made twice"
)
TOGETHER = Rule(
    "together", "two workers that are killed again and again run each attempt once, and never two at a time"
)
GROUP_PAUSE = Rule("group-pause", "while a group is paused none of its jobs starts, and the others do")
LIMIT = Rule("limit", "no more jobs of a group run at once than its limit, on all workers together")
SEATS = Rule(
    "seats", "a job has the seats that its variables name, to the end of its last process, and nobody else has"
)
KEYS = Rule("keys", "of the jobs with one key one runs or waits; the others are skipped or refused")
AFTER = Rule("after", "what waits for others starts, or is skipped, when these have ended as it asks, and not before")

SETTINGS: dict[str, object] = {"rescan": 0.5, "grace": 0.5, "settle": 60, "backoff_base": 0, "min_free": 0}
"""What the kit writes into config.toml, so that nobody waits for long."""


class Judge:
    """Collects what is wrong, by rule."""

    def __init__(self, *rules: Rule) -> None:
        self.problems: Problems = defaultdict(list)
        for rule in rules:
            self.problems[rule.name] = []

    def expect(self, rule: Rule, is_right: object, what: str) -> bool:
        """Note `what` is wrong unless it is right, at most three times a rule; whether it is."""
        if not is_right and len(self.problems[rule.name]) < 3:
            self.problems[rule.name].append(what)
        return bool(is_right)


class Kit:
    """The worker that is judged: how it is started, and how patient to be with it."""

    def __init__(self, words: Sequence[str], patience: float) -> None:
        self.words, self.patience = [*words], patience
        self._works: list[tuple[subprocess.Popen[bytes], Path]] = []
        self._last_words = ""

    def start(self, spool: Spool) -> subprocess.Popen[bytes]:
        """Start one; its output goes to a file beside the spool. It has variables that a job must not have."""
        env = {**os.environ, "QUEUECTL_SPOOL": str(spool.root), "QUEUECTL_TICK": "wrong", "QUEUECTL_SEAT_X": "wrong"}
        path = spool.root.parent / "worker.output"
        with open(path, "ab") as output:
            process = subprocess.Popen(
                self.words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
            )
        self._works.append((process, path))
        return process

    @contextmanager
    def started(self, spool: Spool) -> Iterator[subprocess.Popen[bytes]]:
        """One that is killed at the end, with what it has left."""
        process = self.start(spool)
        try:
            yield process
        finally:
            self.kill(process)
            end_jobs(spool)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9 of the worker's process group, in which its jobs are not."""
        self._is_gone()
        self._works = [each for each in self._works if each[0] is not process]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait(self, condition: Callable[[], object]) -> bool:
        """Whether it came true in time; not waited for once a worker has ended by itself with an error."""
        await_that(lambda: condition() or self._is_gone(), self.patience)
        return bool(condition())

    def explain(self) -> str:
        """How a worker has ended that was not to end, since the last call; empty if none has."""
        said, self._last_words = self._last_words, ""
        return said

    def _is_gone(self) -> bool:
        for process, path in self._works:
            if process.poll() and not self._last_words:
                lines = path.read_text(errors="replace").split("\n")
                last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
                code = process.returncode
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                self._last_words = f"the worker {how}: {last[:200]}"
        return bool(self._last_words)

    def has_ended(self, spool: Spool, *ids: str) -> bool:
        """Wait until these jobs are in done/ or dead/; whether they are."""

        def is_over() -> bool:
            return {*ids} <= {entry.id for entry in spool.entries("done", "dead")}

        return self.wait(is_over)


def end_jobs(spool: Spool) -> None:
    """Kill every process that has the variables of a job of this spool."""
    mark = f"QUEUECTL_SPOOL={spool.root}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with suppress(OSError):
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    os.kill(int(entry), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether that process has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def locked_workers(spool: Spool) -> list[str]:
    """The names of workers whose files are locked."""
    names = [path.stem for path in (spool.root / "workers").glob("*.json")]
    return [name for name in names if is_worker(name) and is_flocked(spool.root / "workers" / f"{name}.json")]


def describe(entry: Entry | None) -> str:
    return "nowhere" if entry is None else f"{entry.state}/{entry.name}"


def pause_briefly(seconds: float) -> None:
    """Give a worker the time to do what it must not do."""
    time.sleep(seconds)
