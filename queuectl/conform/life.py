"""A worker's life without accidents: one run of many jobs, and one in a spool that is paused at first."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from functools import partial
from itertools import combinations
from pathlib import Path

from queuectl.conform import worker as rules
from queuectl.conform.spec import (
    ASKING,
    HELD,
    WAITING,
    Spool,
    await_that,
    is_flocked,
    is_worker,
    parse_time,
    stamp,
)
from queuectl.conform.verdict import Problems, Session
from queuectl.conform.worker import Judge, Kit, describe, is_alive, locked_workers, pause_briefly

_WORDS = ["printf", "<%s>", "", "a b", "'q'", '"', "$HOME", "*", "ä", "a\nb"]
_SAID = "<><a b><'q'><\"><$HOME><*><ä><a\nb>"
_TELL = """tr '\\0' '\\n' </proc/self/environ >env; pwd >cwd
sh -c 'ls -l /proc/$PPID/fd >fds; sed "s/.*) //" /proc/$PPID/stat >session'
echo reported"""
_JITTER, _SLOW = 0.1, 100
_NOT_NOW = 0.7
"""Seconds for which nothing must start."""


def sessions(kit: Kit) -> list[Session]:
    return [
        Session(
            (
                rules.FILE,
                rules.CLAIM,
                rules.START,
                rules.END,
                rules.LOCK,
                rules.ENVIRONMENT,
                rules.STREAMS,
                rules.SESSION,
                rules.RESULTS,
                rules.RETRIES,
                rules.BACKOFF,
                rules.TIMEOUT,
                rules.HELD,
                rules.ADOPT,
                rules.IGNORE,
                rules.REFUSE,
                rules.CANCEL,
                rules.STOP,
            ),
            lambda directory: _Life(kit, directory).run(),
        ),
        Session((rules.PAUSE, rules.ORDER), lambda directory: _pause(kit, directory)),
    ]


class _Life:
    """One worker from its start to its end."""

    def __init__(self, kit: Kit, directory: Path) -> None:
        self.kit, self.judge = kit, Judge()
        self.out = directory / "out"
        self.cwd = directory / "a dir"
        for path in (self.out, self.cwd):
            path.mkdir()
        self.spool = Spool(directory / "spool", **rules.SETTINGS)

    def run(self) -> Problems:
        spool, kit = self.spool, self.kit
        kept = self._put_jobs()
        with kit.started(spool) as process:
            self._see_file(process)
            self._watch_block()
            ended = kit.has_ended(spool, *_ENDING)
            left = sorted({*_ENDING} - {entry.id for entry in spool.entries("done", "dead")})
            self.judge.expect(rules.RESULTS, ended, f"these have not ended: {', '.join(left)}")
            self._see_results(kept)
            self._see_environment()
            self._see_retries()
            self._see_timeout()
            self._see_dropped()
            self._cancel()
            self._stop(process)
        self._see_left_alone()
        return self.judge.problems

    def _put_jobs(self) -> dict[str, tuple[bytes, int]]:
        """Queue them; the bytes and the inode of each."""
        put = self.spool.put
        paths = [
            put(
                "block",
                f"touch {self.out}/begun; while [ ! -e {self.out}/go ]; do sleep 0.02; done; exit 7",
                priority=1,
                max_retries=0,
            ),
            put("tell", _TELL, cwd=str(self.cwd), env={"MINE": "a b", "QUEUECTL_JOB_ID": "no"}, params={"lr": "0.1"}),
            put("good", "echo good; printf tail"),
            put("bad", "exit 3", max_retries=0),
            put("killed", "sh -c 'kill -9 $$'", max_retries=0),
            put("words", _WORDS),
            put("missing", ["./no-such-program"], max_retries=0),
            put("again", "echo attempt $QUEUECTL_ATTEMPT; [ $QUEUECTL_ATTEMPT = 3 ]", max_retries=5, backoff_base=0),
            put("often", "exit 1", max_retries=2, backoff_base=0),
            put("listed", "exit 9", max_retries=1, backoff_base=0, retry_on=[9]),
            put("unlisted", "exit 8", max_retries=5, backoff_base=0, retry_on=[9]),
            put("never", "exit 9", max_retries=5, backoff_base=0, no_retry_on=[9]),
            put("slow", "exit 1", max_retries=1, backoff_base=_SLOW, backoff_max=3600, backoff_jitter=_JITTER),
            put("capped", "exit 1", max_retries=1, backoff_base=3600, backoff_max=50, backoff_jitter=0),
            put(
                "late",
                f"trap '' TERM; sleep 300 & echo $! >{self.out}/late; wait; sleep 300",
                timeout=0.5,
                max_retries=0,
            ),
            put("held", "true", at=HELD),
            put("waits", "true", at=WAITING),
            put("asks", "true", at=ASKING, unique="x"),
            put("later", "true", at=stamp(86400 * 300)),
            put("unknown", "true", mine={"x": [1]}, timout=5),
        ]
        drop = self.spool.drop
        drop("nightly.json", b'{"command": "echo dropped", "priority": 5}')
        drop("own.json", b'{"command": "true", "id": "chosen"}')
        drop("grouped.json", b'{"command": "true", "id": "job", "group": "lr"}')
        drop("odd name \xc3\xa4.json".encode().decode(), b'{"command": "true"}')
        drop("wrong.json", b'{"command": 5}')
        drop("twice.json", b'{"command": "true", "command": "false"}')
        drop("taken.json", b'{"command": "true", "id": "held"}')
        drop(".hidden.json", b'{"command": "true"}')
        drop("backup.json~", b'{"command": "true"}')
        drop("part.json", b'{"command": "tr')
        (self.spool.root / "pending" / "link.json").symlink_to(self.cwd)
        return {
            path.name.rpartition("-")[2].removesuffix(".json"): (path.read_bytes(), path.stat().st_ino)
            for path in paths
        }

    # --- while the first job blocks

    def _see_file(self, process: subprocess.Popen[bytes]) -> None:
        """RACE: looks as soon as the file is there, so a worker that locks it later is caught most of the time."""
        spool, expect = self.spool, self.judge.expect
        folder = spool.root / "workers"
        await_that(lambda: process.poll() is not None or any(folder.glob("*.json")), self.kit.patience)
        files = [*folder.glob("*.json")]
        if not expect(rules.FILE, files, "there is no workers/WORKER.json"):
            return
        expect(rules.FILE, is_flocked(files[0]), f"workers/{files[0].name} was there before it was locked")
        expect(rules.FILE, is_worker(files[0].stem), f"workers/{files[0].name} is not a worker's name")
        await_that(lambda: files[0].read_bytes().rstrip().endswith(b"}"), 1)
        try:
            said = json.loads(files[0].read_bytes())
        except ValueError:
            said = {}
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        for key, value in (("worker", files[0].stem), ("host", os.uname().nodename), ("boot_id", boot)):
            expect(rules.FILE, said.get(key) == value, f"its {key} is {said.get(key)!r}, not {value!r}")
        pid = said.get("pid")
        expect(rules.FILE, isinstance(pid, int) and is_alive(pid), f"its pid is {pid!r}")
        if isinstance(pid, int):
            expect(
                rules.FILE, files[0].stem.split(".")[-2:-1] == [str(pid)], f"its pid is {pid}, its name {files[0].stem}"
            )

    def _watch_block(self) -> None:
        spool, expect = self.spool, self.judge.expect
        if not self.kit.wait((self.out / "begun").exists):
            expect(rules.RESULTS, False, "no job has started")
            return
        entry = spool.find("block", "running")
        if not expect(rules.CLAIM, entry, f"a job runs, and is {describe(spool.find('block'))}"):
            return
        assert entry is not None
        owners = locked_workers(spool)
        expect(
            rules.CLAIM,
            entry.fields["worker"] in owners,
            f"running/{entry.name} has another name than {', '.join(owners)}",
        )
        expect(rules.CLAIM, entry.attempts == 1, f"running/{entry.name}: the first attempt is 1")
        expect(rules.CLAIM, entry.fields["priority"] == "001", f"running/{entry.name}: its priority was 001")
        is_recent = abs((parse_time(entry.fields["at"]) - parse_time(stamp())).total_seconds()) < self.kit.patience + 5
        expect(rules.CLAIM, is_recent, f"running/{entry.name}: started_at is not when it was claimed")
        expect(
            rules.LOCK,
            spool.is_locked("block", entry.fields["at"]),
            "a job runs, and its byte of the log is not locked",
        )
        started = spool.lines("block", "start")
        expect(rules.START, len(started) == 1, f"a job runs, and its log has {len(started)} start lines")
        expect(
            rules.START,
            spool.log("block").startswith(b"#queuectl start "),
            "the log does not begin with the start line",
        )
        if started:
            for key, value in (
                ("attempt", "1"),
                ("started_at", entry.fields["at"]),
                ("worker", entry.fields["worker"]),
            ):
                expect(
                    rules.START,
                    started[0].get(key) == value,
                    f"the start line has {key}={started[0].get(key)}, not {value}",
                )
            pid = started[0].get("pid", "")
            good = pid.isdecimal() and is_alive(int(pid)) and os.getpgid(int(pid)) == int(pid)
            expect(rules.START, good, f"the start line has pid={pid}, which leads no process group")
        (self.out / "go").touch()

    # --- once all have ended

    def _see_results(self, kept: dict[str, tuple[bytes, int]]) -> None:
        spool, expect = self.spool, self.judge.expect
        for id, (state, result, attempts) in _RESULTS.items():
            entry = spool.find(id)
            found = entry and (entry.state, entry.result, entry.attempts)
            rule = rules.RETRIES if id in _OF_RETRIES else rules.RESULTS
            if not expect(
                rule, found == (state, result, attempts), f"{id} is {describe(entry)}, not {result} in {state}/"
            ):
                continue
            assert entry is not None
            data, inode = kept.get(id, (None, 0))
            path = spool.path(entry)
            expect(rules.RESULTS, data is None or path.read_bytes() == data, f"the bytes of {id} have changed")
            expect(
                rules.CLAIM,
                data is None or path.stat().st_ino == inode,
                f"{id} is another file than it was: not renamed",
            )
            self._see_log(id, result, attempts)
        good = spool.log("good")
        expect(
            rules.END,
            b"\ngood\ntail" not in good or b"\ngood\ntail\n#queuectl end " in good,
            "output without a newline at its end runs into the end line",
        )
        words = spool.log("words").partition(b"\n")[2].rpartition(b"\n#queuectl end")[0]
        words = words.partition(b"\n#queuectl")[0]
        expect(rules.RESULTS, words == _SAID.encode(), f"an array of words became {words!r}")

    def _see_log(self, id: str, result: str, attempts: int) -> None:
        starts, ends = self.spool.lines(id, "start"), self.spool.lines(id, "end")
        numbers = [line.get("attempt") for line in starts]
        expected = [str(number) for number in range(1, attempts + 1)]
        self.judge.expect(
            rules.START, numbers == expected, f"the log of {id} has start lines of {numbers}, not {expected}"
        )
        numbers = [line.get("attempt") for line in ends]
        self.judge.expect(rules.END, numbers == expected, f"the log of {id} has end lines of {numbers}, not {expected}")
        times = [line.get("started_at") for line in starts]
        self.judge.expect(
            rules.END, times == [line.get("started_at") for line in ends], f"{id}: other times of start and end"
        )
        said = _result_of(ends[-1]) if ends else ""
        self.judge.expect(rules.END, said == result, f"the end line of {id} says {said}, its name {result}")

    def _see_environment(self) -> None:
        expect = self.judge.expect
        try:
            env = dict(line.partition("=")[::2] for line in (self.cwd / "env").read_text().splitlines())
            cwd, listed = (self.cwd / "cwd").read_text().strip(), (self.cwd / "fds").read_text().splitlines()
            group, session = (self.cwd / "session").read_text().split()[2:4]
        except (OSError, ValueError, IndexError):
            what = f"the job that reports it is {describe(self.spool.find('tell'))}, and has reported nothing"
            for rule in (rules.ENVIRONMENT, rules.STREAMS, rules.SESSION):
                expect(rule, False, what)
            return
        start = (self.spool.lines("tell", "start") or [{}])[0]
        token = f"{start.get('worker')}:{start.get('started_at')}:tell"
        root = str(self.spool.root)
        for key, value in {
            "QUEUECTL_JOB_ID": "tell",
            "QUEUECTL_ATTEMPT": "1",
            "QUEUECTL_SPOOL": root,
            "QUEUECTL_WORKER": start.get("worker"),
            "QUEUECTL_TOKEN": token,
            "QUEUECTL_PROGRESS": f"{root}/progress/tell",
            "QUEUECTL_PARAM_LR": "0.1",
            "MINE": "a b",
            "QUEUECTL_TICK": None,
            "QUEUECTL_SEAT_X": None,
        }.items():
            expect(rules.ENVIRONMENT, env.get(key) == value, f"{key} is {env.get(key)!r}, not {value!r}")
        expect(rules.ENVIRONMENT, cwd == str(self.cwd), f"it runs in {cwd}, not in {self.cwd}")
        log = f"{root}/logs/tell.log"
        open_files = dict(re.findall(r" (\d+) -> (.*)", "\n".join(listed)))
        fds = [open_files.get(number, "closed") for number in "012"]
        expect(rules.STREAMS, fds == ["/dev/null", log, log], f"descriptors 0 to 2 are {' '.join(fds)}")
        wrong = sorted({path for path in open_files.values() if path.startswith(root) and path != log})
        expect(rules.STREAMS, not wrong, f"it has inherited {', '.join(wrong)}")
        expect(
            rules.SESSION,
            group == session,
            f"its session {session} is led by another process group than its own, {group}",
        )
        expect(rules.SESSION, int(session) != os.getsid(0), "it is in the session of the worker")
        expect(
            rules.SESSION,
            session == start.get("pid"),
            f"its session is {session}, the pid in the start line {start.get('pid')}",
        )

    def _see_retries(self) -> None:
        spool, expect = self.spool, self.judge.expect
        said = [f"attempt {number}".encode() in spool.log("again") for number in (1, 2, 3)]
        expect(rules.RETRIES, all(said), "QUEUECTL_ATTEMPT does not count the attempts")
        for id, low, high in (("slow", _SLOW, _SLOW * (1 + _JITTER)), ("capped", 50, 50)):
            self.kit.wait(partial(_has_failed_once, spool, id))
            entry = spool.find(id)
            is_back = entry is not None and (entry.state, entry.attempts) == ("pending", 1)
            if not expect(rules.BACKOFF, is_back, f"{id} has failed once, and is {describe(entry)}"):
                continue
            assert entry is not None
            ended = (spool.root / "logs" / f"{id}.log").stat().st_mtime
            wait = parse_time(entry.fields["at"]).timestamp() - ended
            expect(rules.BACKOFF, low - 1 <= wait <= high + 1, f"{id} waits {wait:.1f} s, not {low:g} to {high:g}")
            expect(rules.BACKOFF, entry.fields["priority"] == "010", f"{id} has another priority: {entry.name}")

    def _see_timeout(self) -> None:
        with suppress(OSError, ValueError):
            pid = int((self.out / "late").read_text())
            self.judge.expect(rules.TIMEOUT, not is_alive(pid), "a process of the job lives after its timeout")
        entry = self.spool.find("late")
        is_right = entry is not None and (entry.state, entry.result) == ("dead", "timeout")
        if self.judge.expect(rules.TIMEOUT, is_right, f"it is {describe(entry)}"):
            assert entry is not None
            took = float(entry.fields["took"])
            self.judge.expect(
                rules.TIMEOUT, 0.4 <= took <= 0.5 + self.kit.patience / 2, f"with a timeout of 0.5 s it took {took} s"
            )

    def _see_dropped(self) -> None:
        spool, expect = self.spool, self.judge.expect
        prefixes = ("nightly-", "chosen", "lr.job", "odd_name")

        def adopted(prefix: str) -> list[str]:
            return [entry.id for entry in spool.entries("done") if entry.id.startswith(prefix)]

        self.kit.wait(lambda: all(map(adopted, prefixes)))
        for prefix in prefixes:
            found = adopted(prefix)
            expect(rules.ADOPT, len(found) == 1, f"of the dropped files {len(found)} became a job {prefix}…")
            expect(rules.ADOPT, all(spool.log(id) for id in found), f"{prefix}…: there is no log")
        five = [entry for entry in spool.entries("done") if entry.id.startswith("nightly-")]
        expect(
            rules.ADOPT,
            all(entry.fields["priority"] == "005" for entry in five),
            "the priority in the body is not that of the job",
        )
        bodies = {b'{"command": 5}', b'{"command": "true", "command": "false"}', b'{"command": "true", "id": "held"}'}

        def refused() -> set[bytes]:
            return {
                spool.path(entry).read_bytes()
                for entry in spool.entries("dead")
                if entry.result == "invalid" and not spool.path(entry).is_symlink()
            }

        self.kit.wait(lambda: bodies <= refused())
        for body in sorted(bodies - refused()):
            expect(rules.REFUSE, False, f"{body.decode()} is not in dead/ as invalid, with its bytes")
        reasons = [spool.lines(entry.id, "refused") for entry in spool.entries("dead") if entry.result == "invalid"]
        expect(
            rules.REFUSE,
            all(any("reason" in line for line in lines) for lines in reasons),
            "the log of a refused file does not say why",
        )

    def _cancel(self) -> None:
        spool, expect = self.spool, self.judge.expect
        spool.put("cancel", f"echo $$ >{self.out}/cancel; exec sleep 300")
        marker = self.out / "cancel"
        if not expect(
            rules.CANCEL, self.kit.wait(lambda: marker.exists() and marker.read_text().strip()), "it has not started"
        ):
            return
        entry = spool.find("cancel", "running")
        if not expect(rules.CANCEL, entry, "it runs, and is not in running/"):
            return
        assert entry is not None
        spool.path(entry).unlink()
        pid = int(marker.read_text())
        expect(rules.CANCEL, self.kit.wait(lambda: not is_alive(pid)), "its file was removed, and it still runs")
        self.kit.wait(lambda: not spool.is_locked("cancel", entry.fields["at"]))
        pause_briefly(0.2)
        expect(
            rules.CANCEL,
            spool.find("cancel") is None,
            f"its file was removed, and is back: {describe(spool.find('cancel'))}",
        )

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        spool, expect = self.spool, self.judge.expect
        spool.put("last", f"touch {self.out}/last; while [ ! -e {self.out}/end ]; do sleep 0.02; done")
        if not expect(rules.STOP, self.kit.wait((self.out / "last").exists), "the last job has not started"):
            return
        process.send_signal(signal.SIGTERM)
        pause_briefly(_NOT_NOW / 2)
        spool.put("too-late", "true")
        pause_briefly(_NOT_NOW / 2)
        expect(rules.STOP, process.poll() is None, "it has ended while its job runs")
        expect(rules.STOP, spool.find("too-late", "pending"), "after SIGTERM it has started another job")
        (self.out / "end").touch()
        try:
            code = process.wait(self.kit.patience)
        except subprocess.TimeoutExpired:
            expect(rules.STOP, False, f"it has not ended {self.kit.patience:g} s after its last job")
            return
        expect(rules.STOP, code == 0, f"it ended with exit code {code}")
        entry = spool.find("last")
        expect(rules.STOP, entry and entry.state == "done", f"its last job is {describe(entry)}")
        left = os.listdir(spool.root / "workers")
        expect(rules.STOP, not left, f"it has left workers/{', '.join(left)}")

    def _see_left_alone(self) -> None:
        spool, expect = self.spool, self.judge.expect
        for id, time_of_it in (("held", HELD), ("waits", WAITING), ("asks", ASKING), ("later", "")):
            entry = spool.find(id)
            is_there = (
                entry is not None and entry.state == "pending" and (not time_of_it or entry.fields["at"] == time_of_it)
            )
            is_known = entry is not None and (id == "asks" or (id == "waits" and entry.fields["at"][:4] == "9999"))
            expect(rules.HELD, is_there or is_known, f"{id} is {describe(entry)}")
        there = os.listdir(spool.root / "pending")
        for name in (".hidden.json", "backup.json~", "part.json"):
            expect(rules.IGNORE, name in there, f"pending/{name} is not there any more")
        others = [
            name
            for name in spool.foreign()
            if name not in ("pending/.hidden.json", "pending/backup.json~", "pending/part.json", "pending/link.json")
        ]
        expect(rules.ADOPT, not others, f"names that are not in their form: {', '.join(others)}")


_RESULTS = {
    "block": ("dead", "exit7", 1),
    "tell": ("done", "exit0", 1),
    "good": ("done", "exit0", 1),
    "bad": ("dead", "exit3", 1),
    "killed": ("dead", "signal9", 1),
    "words": ("done", "exit0", 1),
    "unknown": ("done", "exit0", 1),
    "missing": ("dead", "exit127", 1),
    "late": ("dead", "timeout", 1),
    "again": ("done", "exit0", 3),
    "often": ("dead", "exit1", 3),
    "listed": ("dead", "exit9", 2),
    "unlisted": ("dead", "exit8", 1),
    "never": ("dead", "exit9", 1),
}
_OF_RETRIES = ("again", "often", "listed", "unlisted", "never")
_ENDING = tuple(_RESULTS)


def _has_failed_once(spool: Spool, id: str) -> bool:
    found = spool.find(id, "pending")
    return found is not None and found.attempts == 1


def _result_of(line: dict[str, str]) -> str:
    if "exit" in line or "signal" in line:
        return f"exit{line['exit']}" if "exit" in line else f"signal{line['signal']}"
    if line.get("status", "").isdecimal():
        status = int(line["status"])
        return f"signal{status - 128}" if 128 < status <= 192 else f"exit{status}"
    return line.get("result", "")


def _pause(kit: Kit, directory: Path) -> Problems:
    judge, spool = Judge(), Spool(directory / "spool", **rules.SETTINGS)
    (spool.root / "paused").write_text("reason: a look\n")
    for number, priority in enumerate((30, 10, 20, 0, 40)):
        spool.put(f"j{number}", "sleep 0.05", priority=priority)
    with kit.started(spool):
        if judge.expect(rules.PAUSE, kit.wait(lambda: locked_workers(spool)), "no file in workers/ is locked"):
            pause_briefly(_NOT_NOW)
            moved = [describe(entry) for entry in spool.entries("running", "done", "dead")]
            judge.expect(rules.PAUSE, not moved, f"while paused was there: {', '.join(moved)}")
        (spool.root / "paused").unlink()
        is_over = kit.has_ended(spool, *(f"j{number}" for number in range(5)))
        judge.expect(rules.PAUSE, is_over, "paused was removed, and not all have ended")
        starts = [
            (line["started_at"], f"j{number}") for number in range(5) for line in spool.lines(f"j{number}", "start")
        ]
        order = [id for _, id in sorted(starts, key=lambda each: each[0])]
        times = {id: at for at, id in starts}
        ended = {entry.id: entry.name for entry in spool.entries("done", "dead")}  # the name begins with the time
        due = ("j3", "j1", "j2", "j0", "j4")
        # Slots that are free at one moment may claim in any order; none waits while a later job runs to its end.
        wrong = [
            f"{one} before {other}"
            for one, other in combinations(due, 2)
            if times.get(one, "~") >= ended.get(other, "~")
        ]
        judge.expect(
            rules.ORDER, is_over and not wrong, f"they started as {' '.join(order)}; due was {', '.join(wrong)}"
        )
    return judge.problems
