"""What a worker of format 2 has to keep in common with others: groups and their seats, keys, and what waits for what.

For a worker whose file says an earlier format, or none, these rules are skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from queuectl.conform import worker as rules
from queuectl.conform.spec import ASKING, HELD, WAITING, Spool, is_flocked, stamp
from queuectl.conform.verdict import Problems, Rule, Session, SkipError
from queuectl.conform.worker import Judge, Kit, describe, end_jobs, locked_workers, pause_briefly

_NOT_NOW = 0.7
"""Seconds for which nothing must start."""
_LIMIT, _JOBS = 2, 8
_KEY = "a key"


def sessions(kit: Kit) -> list[Session]:
    return [
        Session((rules.GROUP_PAUSE, rules.LIMIT), lambda directory: _Sharing(kit, directory).groups()),
        Session((rules.SEATS,), lambda directory: _Sharing(kit, directory).seats()),
        Session((rules.KEYS,), lambda directory: _Sharing(kit, directory).keys()),
        Session((rules.AFTER,), lambda directory: _Sharing(kit, directory).after()),
    ]


class _Sharing:
    """A spool, and two workers at most."""

    def __init__(self, kit: Kit, directory: Path) -> None:
        self.kit, self.judge, self.out = kit, Judge(), directory / "out"
        self.out.mkdir()
        self.spool = Spool(directory / "spool", **rules.SETTINGS)

    @contextmanager
    def _started(self, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
        """So many workers, once their files are there; raises SkipError if these say that they know less."""
        workers = [self.kit.start(self.spool) for _ in range(count)]
        try:
            if self.kit.wait(lambda: len(locked_workers(self.spool)) >= count):
                for name in locked_workers(self.spool):
                    self._require_format(name)
            yield workers
        finally:
            for process in workers:
                self.kit.kill(process)
            end_jobs(self.spool)

    def _require_format(self, name: str) -> None:
        said: object = None
        with suppress(OSError, ValueError, AttributeError):
            said = json.loads((self.spool.root / "workers" / f"{name}.json").read_bytes()).get("format")
        if not isinstance(said, int) or said < 2:
            raise SkipError(f"its file says format {1 if said is None else said}; this is of format 2")

    def _set(self, group: str, **settings: str) -> Path:
        """Settings of a group; its directory."""
        path = self.spool.root / "groups" / group
        path.mkdir(parents=True, mode=0o700)
        for key, value in settings.items():
            (path / key.replace("_", "-")).write_text(f"{value}\n")
        return path

    def _until(self, name: str) -> str:
        """A command that says when it runs, and ends when `_let_go` says so."""
        return f"touch {self.out}/{name}.runs; while [ ! -e {self.out}/{name}.go ]; do sleep 0.01; done"

    def _runs(self, name: str) -> bool:
        return self.kit.wait((self.out / f"{name}.runs").exists)

    def _let_go(self, name: str) -> None:
        (self.out / f"{name}.go").touch()

    def _is_now(self, id: str, state: str, result: str = "") -> bool:
        entry = self.spool.find(id)
        return entry is not None and entry.state == state and (not result or entry.result == result)

    def _expect_end(self, rule: Rule, id: str, state: str, result: str, why: str) -> None:
        self.kit.wait(lambda: self._is_now(id, state, result))
        is_right = self._is_now(id, state, result)
        self.judge.expect(rule, is_right, f"{why}: {describe(self.spool.find(id))}, not {result} in {state}/")

    # --- groups

    def groups(self) -> Problems:
        """Two workers, a group with a limit, one that is closed by a limit of 0, and one that is paused."""
        spool, expect = self.spool, self.judge.expect
        self._set("two", limit=str(_LIMIT))
        self._set("none", limit="0")
        paused = self._set("shut", paused="reason: a look")
        ledger = self.out / "ledger"
        for number in range(_JOBS):
            spool.put(f"two.{number}", f"echo + >>{ledger}; sleep 0.1; echo - >>{ledger}")
        for id in ("none.job", "shut.job", "shut.inner.job"):
            spool.put(id, "true", priority=0)
        spool.put("alone", "true", priority=900)
        with self._started(2):
            ids = [f"two.{number}" for number in range(_JOBS)]
            is_over = self.kit.has_ended(spool, *ids)
            expect(rules.LIMIT, is_over, f"not all jobs of a group with the limit {_LIMIT} have ended")
            running, most = 0, 0
            for line in ledger.read_text().split() if ledger.exists() else ():
                running += 1 if line == "+" else -1
                most = max(most, running)
            expect(rules.LIMIT, most <= _LIMIT, f"of a group with the limit {_LIMIT} {most} jobs ran at once")
            counted = Counter(ledger.read_text().split())["+"] if ledger.exists() else 0
            expect(rules.LIMIT, counted <= _JOBS, f"{_JOBS} jobs were started {counted} times")
            passed = self.kit.has_ended(spool, "alone")
            expect(rules.GROUP_PAUSE, passed, "a job behind a paused group was not started")
            pause_briefly(_NOT_NOW)
            entry = spool.find("none.job")
            expect(rules.LIMIT, entry and entry.state == "pending", f"with the limit 0: {describe(entry)}")
            for id in ("shut.job", "shut.inner.job"):
                entry = spool.find(id)
                expect(rules.GROUP_PAUSE, entry and entry.state == "pending", f"its group is paused: {describe(entry)}")
            (paused / "paused").unlink()
            is_over = self.kit.has_ended(spool, "shut.job", "shut.inner.job")
            expect(rules.GROUP_PAUSE, is_over, "its group is not paused any more, and it has not run")
        return self.judge.problems

    def seats(self) -> Problems:
        """A group of three seats, of which the kit has one; its worker is killed while a job has the others."""
        spool, expect = self.spool, self.judge.expect
        held = self._set("card", seats="x,y,z", seat_env="CARD") / "held"
        held.mkdir(mode=0o700)
        first, then = self.out / "first", self.out / "then"
        said = 'echo "$QUEUECTL_SEAT_CARD $CARD"'
        spool.put("card.first", f"{said} >{first}; {self._until('first')}", seats={"card": 2}, env={"CARD": "no"})
        spool.put("card.then", f"{said} >{then}", at=stamp(0.01))
        spool.put("card.none", "true", at=stamp(0.02), seats={"card": 0})
        with open(held / "y+0", "w") as mine:
            fcntl.flock(mine, fcntl.LOCK_EX)
            with self._started(1) as workers:
                if not expect(rules.SEATS, self._runs("first"), "a job that has its seats has not started"):
                    return self.judge.problems
                names = first.read_text().split()
                expect(rules.SEATS, names == ["x,z", "x,z"], f"x and z are free, and its variables say {names}")
                self._see_locks("it runs", held, x=True, z=True)
                is_over = self.kit.has_ended(spool, "card.none")
                expect(rules.SEATS, is_over, "a job that takes no seat has waited for one")
                self.kit.kill(workers[0])
                self._see_locks("its worker was killed and it runs", held, x=True, z=True)
                workers[0] = self.kit.start(spool)
                pause_briefly(_NOT_NOW)
                expect(rules.SEATS, not then.exists(), "another job has started, and no seat is free")
                self._let_go("first")
                self._expect_end(rules.SEATS, "card.then", "done", "exit0", "seats are free")
                names = then.read_text().split() if then.exists() else []
                expect(rules.SEATS, names in (["x", "x"], ["z", "z"]), f"x and z are free, its variables say {names}")
                self.kit.wait(lambda: not is_flocked(held / "x+0") and not is_flocked(held / "z+0"))
                self._see_locks("it has ended", held, x=False, z=False)
        return self.judge.problems

    def _see_locks(self, when: str, held: Path, **locked: bool) -> None:
        for name, is_right in locked.items():
            is_locked = is_flocked(held / f"{name}+0")
            what = "is not locked" if is_right else "is still locked"
            self.judge.expect(rules.SEATS, is_locked == is_right, f"{when}, and groups/card/held/{name}+0 {what}")

    # --- keys

    def keys(self) -> Problems:
        """A job that was left asking for its key, and others of that key while it runs, and after."""
        spool, expect = self.spool, self.judge.expect
        folder = spool.root / "unique" / hashlib.sha256(_KEY.encode()).hexdigest()[:32]
        folder.parent.mkdir(mode=0o700)
        spool.put("first", self._until("first"), at=ASKING, unique=_KEY)
        with self._started(1):
            if not expect(rules.KEYS, self._runs("first"), "a job that was left asking for a free key has not started"):
                return self.judge.problems
            holders = {path.name: path.read_text().strip() for path in folder.glob("[0-9]*")} if folder.exists() else {}
            expect(rules.KEYS, holders == {"1": "first"}, f"unique/{folder.name} is {holders}, not 1 with its id")
            touch = f"touch {self.out}/again"
            spool.put("named", touch, unique=_KEY)
            spool.drop("skips.json", json.dumps({"command": touch, "id": "skips", "unique": _KEY}).encode())
            body = {"command": touch, "id": "fails", "unique": _KEY, "if_exists": "fail"}
            spool.drop("fails.json", json.dumps(body).encode())
            why = "another job of its key runs"
            self._expect_end(rules.KEYS, "skips", "done", "skipped", why)
            self.kit.wait(lambda: any(entry.result == "invalid" for entry in spool.entries("dead")))
            refused = [entry.id for entry in spool.entries("dead") if entry.result == "invalid"]
            expect(rules.KEYS, len(refused) == 1, f'{why}, and of a file with "if_exists": "fail" came {refused}')
            self.kit.wait(lambda: not self._is_now("named", "pending") or self._is_asking("named"))
            pause_briefly(_NOT_NOW)
            expect(rules.KEYS, not (self.out / "again").exists(), "two jobs of one key ran at once")
            self._let_go("first")
            self._expect_end(rules.KEYS, "first", "done", "exit0", "it has its key")
            spool.drop("next.json", json.dumps({"command": "true", "id": "next", "unique": _KEY}).encode())
            self._expect_end(rules.KEYS, "next", "done", "exit0", "its key is free again")
        return self.judge.problems

    def _is_asking(self, id: str) -> bool:
        entry = self.spool.find(id, "pending")
        return entry is not None and entry.fields["at"] == ASKING

    # --- what waits for what

    def after(self) -> Problems:
        """A job that succeeds, one that fails, and those that wait for them; some ends came about before the worker."""
        spool, expect = self.spool, self.judge.expect
        spool.put("good", self._until("good"))
        spool.put("bad", f"{self._until('bad')}; exit 3", max_retries=0)
        spool.put("past", "true", at=HELD)
        entry = spool.find("past", "pending")
        assert entry is not None
        spool.path(entry).rename(spool.root / "done" / f"{stamp()}-010-1-exit0-0.001s-past.json")
        for id, field, names in (
            ("both", "after", ["good", "past"]),
            ("early", "after", ["past"]),
            ("never", "after", ["bad"]),
            ("anyhow", "after_end", ["bad"]),
            ("alarm", "after_failed", ["bad"]),
            ("calm", "after_failed", ["good"]),
        ):
            for name in names:
                edge = spool.root / "after" / name / id
                edge.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                edge.write_text("")
            waits: dict[str, Any] = {field: names}
            spool.put(id, f"touch {self.out}/{id}", at=WAITING, **waits)
        body = {"command": f"touch {self.out}/dropped", "id": "dropped", "after": ["good"]}
        with self._started(1):
            if not expect(rules.AFTER, self._runs("good") and self._runs("bad"), "two jobs have not started"):
                return self.judge.problems
            spool.drop("dropped.json", json.dumps(body).encode())
            is_made = self.kit.wait((spool.root / "after" / "good" / "dropped").exists)
            expect(rules.AFTER, is_made, "a dropped file waits for good, and there is no after/good/dropped")
            why = "all that it waits for was done before the worker came"
            self._expect_end(rules.AFTER, "early", "done", "exit0", why)
            pause_briefly(_NOT_NOW)
            for id in ("both", "never", "anyhow", "alarm", "calm", "dropped"):
                expect(rules.AFTER, not (self.out / id).exists(), f"{id} waits for a job that runs, and has started")
            self._let_go("good")
            self._let_go("bad")
            for id, state, result, why in (
                ("both", "done", "exit0", "all is done that it waits for"),
                ("dropped", "done", "exit0", "a dropped file, and good is done"),
                ("anyhow", "done", "exit0", "bad has ended, after_end"),
                ("alarm", "done", "exit0", "bad has failed, after_failed"),
                ("calm", "done", "skipped", "good has not failed, after_failed"),
                ("never", "dead", "skipped", "bad has failed, after"),
            ):
                self._expect_end(rules.AFTER, id, state, result, why)
            self.kit.wait(lambda: not self._edges("both", "early", "dropped", "anyhow", "alarm"))
            left = self._edges("both", "early", "dropped", "anyhow", "alarm")
            expect(rules.AFTER, not left, f"they have their own time, and there is still {', '.join(left)}")
        return self.judge.problems

    def _edges(self, *ids: str) -> list[str]:
        """The edges of these jobs that are there."""
        paths = (self.spool.root / "after").glob("*/*")
        return sorted(os.path.join(*path.parts[-3:]) for path in paths if path.name.removesuffix("+") in ids)
