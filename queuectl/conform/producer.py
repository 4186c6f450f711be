"""The rules of a producer: a command that is called with one more argument, a line for /bin/sh, and queues it.

It finds the spool in QUEUECTL_SPOOL, and exits with 0 once the job would survive a power cut.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from queuectl.conform.spec import LOOK, STATES, Spool, is_id
from queuectl.conform.verdict import Problems, Rule, Session, SkipError

QUEUES = Rule("queues", "exit code 0 means one new file in pending/ that ends in .json, and nothing else that stays")
COMMAND = Rule("command", "the file is one JSON object in UTF-8, and its command is the line that was given")
REPEATS = Rule("repeats", "the same line again is another job: no file is replaced, whoever submits at the same time")
IDS = Rule("ids", "no two files have one id, and an id is legal")
WHOLE = Rule("whole", "a file in pending/ is whole from the first moment that anybody can see it")
SYNCED = Rule(
    "synced", "before it exits with 0 it syncs the file, publishes it, and then syncs pending/, in this order"
)
FAILURE = Rule("failure", "it exits with another code than 0 if the job cannot be queued")
KILLED = Rule("killed", "kill -9 at any moment leaves the whole job or none, and the next submit works")

LINES = (
    "echo plain",
    """echo 'single' "double" \\ back\\\\slash""",
    "echo $HOME `id` $(id) & | ; > < * ? ~ # !",
    "printf 'a\tb'",
    "echo one\necho two\n",
    "echo täglich 日本 😀 \u2028",
    "-n",
    "{}",
    " leading and trailing ",
    "echo %s %d %% \\n \\u0041",
    "x" * 5000,
)
_TOGETHER = 8
_KILLS = 16


def sessions(words: Sequence[str], patience: float) -> list[Session]:
    """What judges that command."""
    kit = _Producer(words, patience)
    return [
        Session((QUEUES, COMMAND, IDS), kit.submit_lines),
        Session((REPEATS, WHOLE), kit.submit_together),
        Session((SYNCED,), kit.trace),
        Session((FAILURE,), kit.submit_to_nothing),
        Session((KILLED,), kit.kill),
    ]


def _visible(spool: Spool) -> list[str]:
    names = os.listdir(spool.root / "pending")
    return sorted(name for name in names if name.endswith(".json") and not name.startswith("."))


def _inventory(spool: Spool) -> set[str]:
    """What stays of a submit, but for logs, counters and marks of the producer's own."""
    return {f"{state}/{name}" for state in (*STATES, "tmp") for name in os.listdir(spool.root / state)}


class _Producer:
    def __init__(self, words: Sequence[str], patience: float) -> None:
        self._words, self._patience = [*words], patience

    def _environment(self, spool: Spool) -> dict[str, str]:
        return {**os.environ, "QUEUECTL_SPOOL": str(spool.root)}

    def _start(self, spool: Spool, line: str, *before: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*before, *self._words, line],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=self._environment(spool), start_new_session=True,
        )  # fmt: skip

    def _submit(self, spool: Spool, line: str) -> tuple[int, str]:
        process = self._start(spool, line)
        try:
            stderr = process.communicate(timeout=self._patience)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return -1, "it did not end"
        return process.returncode, stderr.decode("utf-8", "replace").strip()[-200:]

    # --- sessions

    def submit_lines(self, directory: Path) -> Problems:
        spool = Spool(directory / "spool")
        queues, command, ids = list[str](), list[str](), list[str]()
        for line in LINES:
            before, shown = _inventory(spool), repr(line)[:40]
            code, why = self._submit(spool, line)
            new = sorted(_inventory(spool) - before - {"tmp/ballast"})
            files = [name for name in new if name.startswith("pending/")]
            if code:
                queues.append(f"{shown}: exit code {code}: {why}")
            elif len(files) != 1 or len(new) != 1:
                queues.append(f"{shown}: exit code 0, and {', '.join(new) or 'nothing new in the spool'}")
            elif not files[0].endswith(".json") or files[0].startswith("pending/."):
                queues.append(f"{shown}: {files[0]} is not a name that workers look at")
            else:
                command += _problems_of_body(spool.root / files[0], line)
        ids += _problems_of_ids(spool)
        return {QUEUES.name: queues, COMMAND.name: command, IDS.name: ids}

    def submit_together(self, directory: Path) -> Problems:
        """The same line, from several processes at once, while a reader looks at every new file."""
        spool = Spool(directory / "spool")
        torn: dict[str, str] = {}
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                for name in _visible(spool):
                    if name in torn:
                        continue
                    with suppress(OSError):
                        data = (spool.root / "pending" / name).read_bytes()
                        try:
                            json.loads(data)
                        except ValueError:
                            torn[name] = f"pending/{name} was seen with {len(data)} bytes that do not parse"
                time.sleep(LOOK / 10)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        line = "echo " + "x" * 100_000
        done = 0
        for _ in range(2):
            for process in [self._start(spool, line) for _ in range(_TOGETHER)]:
                try:
                    process.communicate(timeout=self._patience)
                    done += process.returncode == 0
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
        stop.set()
        watcher.join()
        repeats = []
        found = len(_visible(spool))
        if done < 2 * _TOGETHER:
            repeats.append(f"{2 * _TOGETHER - done} of {2 * _TOGETHER} submits of one line failed")
        if found < done:
            repeats.append(f"{done} submits exited with 0, and {found} files are in pending/")
        whole = [*torn.values()]
        with suppress(SkipError):
            whole += [
                f"pending/{name} is written in place: a kill, or a full disk, leaves a part of it"
                for name in _created_in_pending(self._strace(directory, "in-place"))
            ]
        return {REPEATS.name: repeats, WHOLE.name: whole[:3]}

    def trace(self, directory: Path) -> Problems:
        return {SYNCED.name: _problems_of_order(self._strace(directory, "traced"))}

    def _strace(self, directory: Path, name: str) -> list[str]:
        """The system calls of one submit."""
        if shutil.which("strace") is None:
            raise SkipError("strace is not installed")
        spool = Spool(directory / name)
        trace = directory / f"{name}.trace"
        calls = "trace=rename,renameat,renameat2,link,linkat,openat,open,creat,fsync,fdatasync,sync,syncfs"
        process = self._start(spool, "true", "strace", "-f", "-y", "-qq", "-s", "4096", "-e", calls, "-o", str(trace))
        try:
            _, stderr = process.communicate(timeout=self._patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise SkipError("under strace it did not end") from None
        if process.returncode or not trace.exists() or not trace.stat().st_size:
            raise SkipError(f"strace does not work here: {stderr.decode('utf-8', 'replace').strip()[-100:]}")
        return [line for line in trace.read_text(errors="replace").splitlines() if " = -1 " not in line]

    def submit_to_nothing(self, directory: Path) -> Problems:
        """A spool whose pending/ is a file, so that nothing can be put there."""
        spool = Spool(directory / "spool")
        (spool.root / "pending").rmdir()
        (spool.root / "pending").write_text("")
        code, _ = self._submit(spool, "true")
        return {FAILURE.name: [] if code else ["pending/ is not a directory, and it exits with 0"]}

    def kill(self, directory: Path) -> Problems:
        """kill -9 at moments that are spread over the time that a submit takes."""
        begun = time.monotonic()
        self._submit(Spool(directory / "first"), LINES[1])
        took = time.monotonic() - begun
        problems = []
        for number in range(_KILLS):
            spool = Spool(directory / str(number))
            process = self._start(spool, LINES[1])
            with suppress(subprocess.TimeoutExpired):
                process.wait(took * (number + 1) / _KILLS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            was_acknowledged = process.returncode == 0
            found = _visible(spool)
            if len(found) > 1 or (was_acknowledged and not found):
                problems.append(
                    f"{len(found)} files after one submit that {'ended' if was_acknowledged else 'was killed'}"
                )
            for name in found:
                problems += _problems_of_body(spool.root / "pending" / name, LINES[1])
            code, why = self._submit(spool, LINES[1])
            if code or len(_visible(spool)) != len(found) + 1:
                problems.append(f"after a kill the next submit fails: exit code {code} {why}")
        return {KILLED.name: problems[:3]}


def _problems_of_body(path: Path, line: str) -> list[str]:
    data = path.read_bytes()
    shown = repr(line)[:40]
    try:
        body = json.loads(data.decode())
    except ValueError as error:
        return [f"{shown}: {path.name} is not JSON in UTF-8: {error}"]
    if not isinstance(body, dict):
        return [f"{shown}: {path.name} is not an object"]
    found = body.get("command")
    if found not in (line, ["/bin/sh", "-c", line], ["sh", "-c", line]):
        return [f"{shown}: the command is {str(found)[:60]!r}"]
    return []


def _problems_of_ids(spool: Spool) -> list[str]:
    problems, seen = [], set[str]()
    named = {entry.name: entry.id for entry in spool.entries("pending")}
    for name in _visible(spool):
        asked = None
        with suppress(ValueError, OSError, AttributeError):
            asked = json.loads((spool.root / "pending" / name).read_bytes()).get("id")
        id = named.get(name, asked)
        if id is None:
            continue
        if not is_id(str(id)):
            problems.append(f"pending/{name} has the id {id!r}")
        if id in seen:
            problems.append(f"the id {id} is there twice")
        if name in named and asked not in (None, id):
            problems.append(f"pending/{name} has the id {asked!r} in its body")
        seen.add(str(id))
    return problems


_PATH = r'"([^"]*)"'


def _created_in_pending(trace: list[str]) -> list[str]:
    """Names in pending/ of files that were created there, other than such that workers ignore."""
    made = [re.search(rf"\b(?:openat|open|creat)\(.*?{_PATH}.*", line) for line in trace]
    paths = [match[1] for match in made if match and ("O_CREAT" in match[0] or "creat(" in match[0])]
    names = [path.rpartition("/pending/")[2] for path in paths if "/pending/" in path]
    return [name for name in dict.fromkeys(names) if name.endswith(".json") and not name.startswith(".")]


def _problems_of_order(trace: list[str]) -> list[str]:
    """The file must be synced before it is published, and the directory after that."""
    published, source = None, ""
    for number, line in enumerate(trace):
        match = re.search(rf"\b(?:rename|renameat|renameat2|link|linkat)\(.*?{_PATH}.*?{_PATH}", line)
        if match is None and "O_CREAT" in line:
            match = re.search(rf"\b(?:openat|open)\(.*?({_PATH})", line)
        if match and "/pending/" in match[2]:
            published, source = number, match[1].strip('"')
    if published is None:
        return ["no rename, link or open of a file in pending/ was seen"]
    is_in_place = "/pending/" in source
    before = trace if is_in_place else trace[:published]
    everything = r"\b(?:sync\(|syncfs\()"
    file = rf"\b(?:fsync|fdatasync)\(\d+<[^>]*{re.escape(source.rpartition('/')[2])}>"
    folder = r"\bfsync\(\d+<[^>]*/pending/?>"
    problems = []
    if not any(re.search(f"{everything}|{file}", line) for line in before):
        problems.append("the file is not synced before it is published")
    if not any(re.search(f"{everything}|{folder}", line) for line in trace[published + 1 :]):
        problems.append("pending/ is not synced after the file is published")
    return problems
