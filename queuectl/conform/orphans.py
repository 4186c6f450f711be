"""What a worker makes of jobs that other workers have left in running/, or have not: the kit plays these others."""

from __future__ import annotations

import fcntl
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from queuectl.conform import worker as rules
from queuectl.conform.spec import Spool, about, lock_attempt, stamp
from queuectl.conform.verdict import Problems, Session
from queuectl.conform.worker import Judge, Kit, describe, locked_workers, pause_briefly

_HOST = "".join(c if c in "abcdefghijklmnopqrstuvwxyz0123456789_." else "_" for c in os.uname().nodename.lower())[:20]
DEAD, LIVING, ELSEWHERE = f"{_HOST}.4242.dead", f"{_HOST}.4243.live", "elsewhere.4242.gone"
_AGO = -30.0


def sessions(kit: Kit) -> list[Session]:
    return [
        Session(
            (rules.ENDED, rules.UNSTARTED, rules.LOST, rules.ALIVE, rules.OTHERS),
            lambda directory: _Orphans(kit, directory).run(),
        )
    ]


class _Orphans:
    """A spool that a worker of this host has left by dying, with jobs at each step of their lives."""

    def __init__(self, kit: Kit, directory: Path) -> None:
        self.kit, self.judge, self.out = kit, Judge(), directory / "out"
        self.out.mkdir()
        self.spool = Spool(directory / "spool", **rules.SETTINGS)
        self.at = stamp(_AGO)
        self.open: list[IO[bytes]] = []

    def run(self) -> Problems:
        spool, kit, expect = self.spool, self.kit, self.judge.expect
        workers = spool.root / "workers"
        (workers / f"{DEAD}.json").write_text(about(DEAD))
        away = about(ELSEWHERE, host="elsewhere", boot_id="00000000-0000-0000-0000-000000000000")
        (workers / f"{ELSEWHERE}.json").write_text(away)
        with ExitStack() as stack:
            living = stack.enter_context(open(workers / f"{LIVING}.json", "w"))
            living.write(about(LIVING))
            living.flush()
            fcntl.flock(living, fcntl.LOCK_EX)
            self._leave()
            shell = self._leave_running("alive")
            daemon = self._leave_daemon("daemon")
            stack.callback(shell.wait)
            stack.callback(daemon.wait)
            stack.callback(daemon.kill)
            stack.callback(shell.kill)
            with kit.started(spool):
                self._see_alive(shell)
                kit.has_ended(spool, "good", "bad", "failed", "unstarted", "lost", "daemon", "timed")
                self._see()
                (self.out / "go").touch()
                shell.wait(kit.patience)
                kit.has_ended(spool, "alive")
                entry = spool.find("alive")
                is_right = entry is not None and (entry.state, entry.result, entry.attempts) == ("dead", "exit5", 1)
                expect(rules.ALIVE, is_right, f"it ended with 5, and is {describe(entry)}")
                expect(rules.ALIVE, not (self.out / "second").exists(), "it was started a second time")
                gone = kit.wait(lambda: not (workers / f"{DEAD}.json").exists())
                expect(rules.ENDED, gone, "the file of the dead worker is still there, with no job left")
                for name in (LIVING, ELSEWHERE):
                    expect(rules.OTHERS, (workers / f"{name}.json").exists(), f"workers/{name}.json has been removed")
        for file in self.open:
            file.close()
        return self.judge.problems

    # --- what is there

    def _claimed(self, id: str, command: str, log: str, worker: str = DEAD, **fields: Any) -> Path:
        """A job in running/, and its log; @ in the log stands for what a line says of the attempt."""
        spool = self.spool
        pending = spool.put(id, command, **fields)
        path = spool.root / "running" / f"{self.at}-010-1-{worker}-{id}.json"
        pending.rename(path)
        which = f"attempt=1 started_at={self.at}"
        text = log.replace("@start", f"#queuectl start {which} worker={worker} pid=999999999\n")
        (spool.root / "logs" / f"{id}.log").write_text(
            text.replace("@end", f"\n#queuectl end {which}").replace("@", which)
        )
        return path

    def _leave(self) -> None:
        ran = f"touch {self.out}/$QUEUECTL_JOB_ID.$QUEUECTL_ATTEMPT"
        self._claimed("good", ran, "@startout\n@end exit=0\n")
        self._claimed("bad", ran, "@start@end status=4\n", max_retries=0)
        self._claimed("failed", ran, "@start@end status=137\n", max_retries=1, backoff_base=0)
        self._claimed("unstarted", ran, "", max_retries=0)
        self._claimed("lost", ran, "@startout", max_retries=1, backoff_base=0)
        self._claimed("dead-lost", ran, "@startout", on_lost="dead")
        self._claimed("timed", ran, "@start#queuectl note ending @ reason=timeout\n@end status=0\n", max_retries=0)
        self._claimed("theirs", ran, "@startout\n", LIVING)
        self._claimed("away", ran, "@startout\n", ELSEWHERE)
        self._claimed("away-ended", ran, "@start@end exit=0\n", ELSEWHERE)

    def _leave_running(self, id: str) -> subprocess.Popen[bytes]:
        """A job whose shell still runs, and holds its lock."""
        self._claimed(id, f"touch {self.out}/second", "", max_retries=0)
        log = open(self.spool.root / "logs" / f"{id}.log", "ab+")  # noqa: SIM115 - given to the shell
        lock_attempt(log.fileno(), self.at)
        which = f"attempt=1 started_at={self.at}"
        script = (
            f'echo "#queuectl start {which} worker={DEAD} pid=$$"; touch {self.out}/runs; '
            f"while [ ! -e {self.out}/go ]; do sleep 0.02; done; printf '\\n#queuectl end {which} exit=5\\n'; exit 5"
        )
        shell = self._spawn(id, script, log)
        log.close()
        self.kit.wait((self.out / "runs").exists)
        return shell

    def _leave_daemon(self, id: str) -> subprocess.Popen[bytes]:
        """A job that has ended, and has left a process that holds its lock."""
        self._claimed(id, f"touch {self.out}/second-{id}", "@start@end exit=0\n")
        log = open(self.spool.root / "logs" / f"{id}.log", "ab+")  # noqa: SIM115 - given to the process
        lock_attempt(log.fileno(), self.at)
        daemon = self._spawn(id, "exec sleep 300", log)
        log.close()
        return daemon

    def _spawn(self, id: str, script: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        env = {**os.environ, "QUEUECTL_TOKEN": f"{DEAD}:{self.at}:{id}", "QUEUECTL_SPOOL": str(self.spool.root)}
        return subprocess.Popen(
            ["/bin/sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
        )

    # --- what became of it

    def _see_alive(self, shell: subprocess.Popen[bytes]) -> None:
        spool, expect = self.spool, self.judge.expect

        def is_adopted() -> bool:
            entry = spool.find("alive", "running")
            return entry is not None and entry.fields["worker"] in locked_workers(spool)

        entry_is_there = self.kit.wait(is_adopted)
        entry = spool.find("alive")
        if expect(rules.ALIVE, entry_is_there and entry, f"it runs, and is {describe(entry)}"):
            assert entry is not None
            expect(
                rules.ALIVE, entry.fields["at"] == self.at and entry.attempts == 1, f"adopted as running/{entry.name}"
            )
        expect(rules.ALIVE, shell.poll() is None, "it ran, and has been ended")

    def _see(self) -> None:
        """The ends of those that are over, and which of them have run."""
        spool, expect = self.spool, self.judge.expect
        for rule, id, state, result, attempts, ran in (
            (rules.ENDED, "good", "done", "exit0", 1, ()),
            (rules.ENDED, "bad", "dead", "exit4", 1, ()),
            (rules.ENDED, "failed", "done", "exit0", 2, (2,)),
            (rules.ENDED, "daemon", "done", "exit0", 1, ()),
            (rules.ENDED, "timed", "dead", "timeout", 1, ()),
            (rules.UNSTARTED, "unstarted", "done", "exit0", 1, (1,)),
            (rules.LOST, "lost", "done", "exit0", 2, (2,)),
            (rules.LOST, "dead-lost", "dead", "lost", 1, ()),
        ):
            entry = spool.find(id)
            found = entry and (entry.state, entry.result, entry.attempts)
            expect(rule, found == (state, result, attempts), f"{id} is {describe(entry)}, not {result} in {state}/")
            made = {path.name for path in self.out.glob(f"{id}.*")}
            expect(
                rule, made == {f"{id}.{number}" for number in ran}, f"{id}: the attempts that ran are {sorted(made)}"
            )
        ends = [line.get("result") for line in spool.lines("lost", "end")]
        expect(rules.LOST, ends[:1] == ["lost"], f"the log of a lost attempt has the end lines {ends}")
        pause_briefly(0.5)
        for id in ("theirs", "away", "away-ended"):
            entry = spool.find(id)
            is_there = entry is not None and entry.state == "running" and entry.fields["worker"] in (LIVING, ELSEWHERE)
            expect(rules.OTHERS, is_there, f"{id} is {describe(entry)}")
