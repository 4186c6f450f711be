"""Every fault at full size, and a table of what came of it: `make torture`.

    python -m tests.torture [--short] [CASE...]

Exits with 1 if anything was lost, ran twice, or came out wrong, and under CI=true also if a case cannot run here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, product, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

from queuectl.core.cron import Cron
from queuectl.errors import UsageError
from tests.core import ticks_oracle
from tests.hosts import machine
from tests.model import edges_cases
from tests.model.__main__ import judge
from tests.model.interleavings import search, show
from tests.support import environment
from tests.torture import (
    backups,
    containers,
    crowd,
    dependents,
    events,
    fulldisk,
    graphs,
    hosts,
    keys,
    limits,
    litter,
    namespaces,
    nfs,
    powercut,
    recipe,
    slurm,
    storm,
    ticks,
    variants,
    volumes,
)
from tests.torture.shared_calls import OPERATIONS as SHARED
from tests.torture.syscalls import OPERATIONS

Outcome = tuple[str, list[str]]
"""Figures, and what is wrong."""
_Run = Callable[[Path, bool], Outcome]


@dataclass(frozen=True)
class Case:
    """A row: its name, what it needs, and how it is run in a directory (the flag asks for the short form)."""

    name: str
    run: Callable[[Path, bool], Outcome]
    programs: tuple[str, ...] = ()
    volume: str = ""
    obstacle: Callable[[], str | None] = lambda: None

    def missing(self) -> str | None:
        for program in self.programs:
            if shutil.which(program) is None:
                return f"{program} is not installed"
        return (volumes.missing(self.volume) if self.volume else None) or self.obstacle()


def _storm(shells: bool, variant: str = "") -> Callable[[Path, bool], Outcome]:
    def run(home: Path, short: bool) -> Outcome:
        jobs, kills = (1000, 50) if short else (10_000, 200)
        outcome = storm.rage(home, jobs=jobs, kills=kills, shells=shells, seed=int(time.time()))
        figures = outcome.verdict.figures
        text = (
            f"{figures['acknowledged']} jobs, {outcome.worker_kills} workers and {outcome.shell_kills} shells killed, "
        )
        return text + f"{figures['attempts']} attempts, {figures['overlaps']} overlaps", outcome.verdict.problems

    return run


def _ticks(home: Path, short: bool) -> Outcome:
    found = ticks.rage(home, seconds=15 if short else 60, seed=int(time.time()))
    text = f"{found.ticks} ticks, {found.kills} workers killed, {found.stops} stopped, {found.pruned} jobs pruned"
    return text, found.problems


def _every_minute(_: Path, short: bool) -> Outcome:
    """Every expression of the oracle in every zone, over all of the time."""
    years, problems, number = range(2026, 2027 if short else 2036), [], 0
    made = ticks_oracle.random_expressions(random.Random(int(time.time())), 10_000)
    expressions = [*ticks_oracle.EXPRESSIONS, *islice(filter(_ever_comes, made), 0 if short else 160)]
    for zone, year in product(ticks_oracle.ZONES[: 2 if short else None], years):
        begin, end = (datetime(number, 1, 1, tzinfo=UTC) for number in (year, year + 1))
        for expression in expressions:
            expected = ticks_oracle.Oracle(expression, zone).ticks(begin, end)
            begun = Cron(expression).ticks(begin - timedelta(milliseconds=1), ZoneInfo(zone))
            found = [*takewhile(lambda tick: tick < end, begun)]  # noqa: B023 - used at once
            number += len(expected)
            if found != expected:
                first = min({*found} ^ {*expected})
                problems.append(f"{expression} in {zone}: {first} is {'left out' if first in expected else 'wrong'}")
    return f"{number:,} ticks of {len(expressions)} expressions in {len(years)} years", problems


def _ever_comes(expression: str) -> bool:
    try:
        return next(Cron(expression).ticks(datetime(2026, 1, 1, tzinfo=UTC), UTC), None) is not None
    except UsageError:
        return False


def _limits(home: Path, short: bool) -> Outcome:
    found = limits.rage(home, jobs=200 if short else 3000, kills=20 if short else 200, seed=int(time.time()))
    most = ", ".join(
        f"{number} of {group}"
        for group, number in sorted(found.most.items())
        if group in {**limits.LIMITS, **limits.SEATS}
    )
    text = f"{found.jobs} jobs, {found.kills} workers killed, {found.stops} stopped, {found.changes} limits changed; "
    return f"{text}at most {most}", found.problems


def _containers(home: Path, short: bool) -> Outcome:
    outcome = containers.rage(home, seconds=15 if short else 600, seed=int(time.time()), each=1 if short else 2)
    figures = outcome.verdict.figures
    text = f"{figures['acts']} acts of {sum(count > 0 for kind, count in figures.items() if kind not in _SUMS)} kinds, "
    text += f"{figures['killed']} of them killed, {sum(figures[f'worker-{way}'] for way in containers.WAYS)} workers "
    text += (
        f"and {sum(figures[f'shell-{way}'] for way in containers.SHOTS)} shells struck, {figures['attempts']} attempts"
    )
    return text, outcome.verdict.problems


def _slurm(home: Path, short: bool) -> Outcome:
    found = slurm.rage(home, slurm.SHORT if short else ())
    text = f"{found.faults} faults, {found.jobs} jobs, {found.attempts} attempts, {found.lost} lost"
    return text, found.problems


_SUMS = ("acts", "attempts", "killed", "acknowledged")


def _keys(_: Path, short: bool) -> Outcome:
    figures = keys.storm(12, 10) if short else keys.storm(40, 120)
    problems = figures.pop("problems")
    assert isinstance(problems, list)
    return ", ".join(f"{value} {name}" for name, value in figures.items()), problems


def _hosts(restarts: int) -> Callable[[Path, bool], Outcome]:
    def run(home: Path, short: bool) -> Outcome:
        jobs, kills = (200, 20) if short else (2_000, 200)
        found = hosts.storm(home, jobs=jobs, kills=kills, restarts=min(restarts, kills), seed=int(time.time()))
        shares = " and ".join(f"{number} on {host}" for host, number in sorted(found.by_host.items()))
        text = f"{found.jobs} submits, {found.kills} workers killed, {found.restarts} restarts of the server; {shares}"
        return text, found.problems

    return run


def _nfs(skew: float) -> _Run:
    def run(home: Path, short: bool) -> Outcome:
        found = nfs.rage(home, short=short, seed=int(time.time()), skew=skew)
        return str(found), found.problems

    return run


def _graphs(home: Path, short: bool) -> Outcome:
    found = graphs.run(home, jobs=200 if short else 2_000, kills=10 if short else 100, seed=int(time.time()))
    text = f"{found.jobs} jobs, {found.kills} processes killed, {found.retried} retried; {found.ran} ran, "
    return text + f"{found.skipped} were skipped", found.problems


def _backups(home: Path, short: bool) -> Outcome:
    found = backups.run(home, jobs=100 if short else 2_000, backups=3 if short else 30, seed=int(time.time()))
    text = f"{found.backups} copies of a live spool with {found.jobs} jobs, {found.twins} of them twice, "
    return text + f"{found.without_all} without all that they waited for", found.problems


def _edges(_: Path, short: bool) -> Outcome:
    """The model of dependencies; its large cases take half an hour."""
    states, problems = 0, []
    cases = (*edges_cases.SOUND, *(() if short else edges_cases.LARGE))
    for case in cases:
        report = search(case, most=edges_cases.MOST)
        states += report.states
        problems += [f"{case.name}: {show(report)}"] if report.fault is not None else []
    broken = (*edges_cases.BROKEN, *(() if short else edges_cases.LARGE_BROKEN))
    for case in broken:
        fault = search(case, most=edges_cases.MOST).fault
        if fault is None or fault.startswith("unfinished"):
            problems.append(f"the model {fault or 'holds'} with: {case.name}")
    return f"{len(cases)} cases, {states:,} states, {len(broken)} broken readings caught", problems


def _moments(home: Path, short: bool) -> Outcome:
    number = 500 if short else 10_000
    return f"{number:,} children, each submitted as its dependency ended", dependents.at_one_moment(home, number)


def _shapes(_: Path, short: bool) -> Outcome:
    number = 1_000 if short else 10_000
    text, problems = dependents.grow(number)
    return f"of {number:,}: {text}", problems


def _syscalls(fault: str, module: str = "syscalls", operations: Iterable[str] = OPERATIONS, every: int = 1) -> _Run:
    def run(home: Path, short: bool) -> Outcome:
        points = struck = number = 0
        problems: list[str] = []
        for operation in operations:
            number += 1
            step = (10 if short else 1) * every * (7 if operation == "worker" else 1)
            words = [sys.executable, "-m", f"tests.torture.{module}", operation, fault, str(step)]
            done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=3600)
            if not done.stdout:
                problems.append(f"{operation}: {done.stderr}")
                continue
            figures = json.loads(done.stdout)
            points, struck = points + figures["points"], struck + figures["struck"]
            problems += figures["problems"]
        return f"{number} operations, {points} points, {struck} struck", problems

    return run


def _powercut(kind: str) -> Callable[[Path, bool], Outcome]:
    def run(home: Path, short: bool) -> Outcome:
        outage = powercut.rage(kind, home, cuts=5 if short else 50, seed=int(time.time()))
        text = f"{outage.cuts} cuts, {outage.acknowledged} acknowledged, {outage.unanswered} unanswered, "
        return text + f"{outage.repeated} ran again (their end was not durable)", outage.problems

    return run


def _fulldisk(kind: str, what: str) -> Callable[[Path, bool], Outcome]:
    def run(home: Path, short: bool) -> Outcome:
        found = fulldisk.rage(kind, home, what=what, rounds=2 if short else 10)
        text = f"{found.rounds} times full, {found.acknowledged} accepted, {found.refused} refused, "
        return text + f"{found.settled_while_full} settled while full", found.problems

    return run


def _litter(home: Path, short: bool) -> Outcome:
    found = litter.strew(home, names=2000 if short else 100_000, bodies=500 if short else 10_000)
    return (
        f"{found.dropped} files: {found.adopted} adopted, {found.refused} refused, {found.left_alone} left alone",
        found.problems,
    )


def _crowd(home: Path, short: bool) -> Outcome:
    """On a file system in memory of its own, for three million names are more than /dev/shm takes by default."""
    if short:
        found = crowd.gather(home, 20_000, window=2000)
    else:
        with volumes.volume("tmpfs", home, "size=50%,nr_inodes=0") as memory:
            found = crowd.gather(memory.path, 1_000_000)
    text = f"{found.pending:,} pending and {found.done:,} done: worker {found.worker_peak / 1024:.0f} MiB, "
    text += f"{found.worker_growth / 1024:+.1f} MiB since half of them; "
    text += f"fsck {found.fsck_peak / 1024:.0f} MiB, {found.fsck_calls_each:.2f} calls for each job"
    return text, found.problems


def _variants(home: Path, short: bool) -> Outcome:
    """Each planted fault must be caught, by the storm, by the order of calls, or by a power cut."""
    caught, problems = [], []
    for name in variants.VARIANTS:
        directory = home / name
        directory.mkdir()
        if "fsync" in name:
            found = recipe.judge(directory, 1, variants.command(name))
            if not volumes.missing("ext4"):
                found = found and powercut.rage("ext4", directory / "cut", cuts=10, variant=name).problems
        else:
            found = _small_storm(directory, name, patience=5)
            found = [problem for problem in found if variants.SYMPTOMS[name] in problem]
        if found:
            caught.append(name)
        else:
            problems.append(f"the checker passed {name}")
    problems += [f"without a planted fault: {problem}" for problem in _small_storm(home / "real", variants.NONE, 60)]
    return f"{len(caught)} of {len(variants.VARIANTS)} caught", problems


def _small_storm(directory: Path, variant: str, patience: float) -> list[str]:
    directory.mkdir(exist_ok=True)
    return storm.rage(directory, jobs=60, kills=4, start=variants.command(variant), patience=patience).verdict.problems


def _suite(*words: str) -> Callable[[Path, bool], Outcome]:
    """Faults that are tests of their own already, with no larger form."""

    def run(home: Path, short: bool) -> Outcome:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={home}/pytest", *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(), timeout=900)
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "nothing ran"
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return last.strip("= "), (lines or [done.stdout[-500:]]) if done.returncode else []

    return run


CASES = (
    Case("workers killed", _storm(shells=False), ("flock",)),
    Case("workers and job shells killed", _storm(shells=True), ("flock",)),
    Case("limits and seats, workers killed", _limits),
    Case("schedules, workers killed", _ticks),
    Case("two hosts, workers killed", _hosts(0), ("glusterfs", "glusterfsd")),
    Case("two hosts, file server restarted", _hosts(20), ("glusterfs", "glusterfsd")),
    Case("two hosts on NFS, emulated", _nfs(0), obstacle=machine.missing),
    Case("two hosts on NFS, an hour apart", _nfs(3600), obstacle=machine.missing),
    Case("ticks of every minute for ten years", _every_minute),
    Case("agents over three PID namespaces", _containers, ("flock",), obstacle=namespaces.missing),
    Case(
        "promises that were broken",
        _suite("tests/torture/test_promises.py"),
        ("flock", "strace"),
        obstacle=namespaces.missing,
    ),
    Case("submitters of a few keys, killed", _keys, ("flock",)),
    Case("random graphs, everything killed", _graphs),
    Case("live backups, restored", _backups, ("rsync",)),
    Case("submits as dependencies end", _moments),
    Case("fan-in, fan-out, chains", _shapes),
    Case("killed at every system call", _syscalls("kill"), ("strace", "flock")),
    Case("every error at every call", _syscalls("error"), ("strace", "flock")),
    Case("hosts killed at every system call", _syscalls("kill", "shared_calls", SHARED), ("strace", "flock")),
    Case("hosts, errors at every fifth point", _syscalls("error", "shared_calls", SHARED, 5), ("strace", "flock")),
    Case("power cut, ext4", _powercut("ext4"), ("flock",), "ext4"),
    Case("power cut, xfs", _powercut("xfs"), ("flock",), "xfs"),
    Case("power cut, btrfs", _powercut("btrfs"), ("flock",), "btrfs"),
    Case("disk full, tmpfs", _fulldisk("tmpfs", "bytes"), ("flock",), "tmpfs"),
    Case("inodes full, tmpfs", _fulldisk("tmpfs", "inodes"), ("flock",), "tmpfs"),
    Case("disk full, ext4", _fulldisk("ext4", "bytes"), ("flock",), "ext4"),
    Case("inodes full, ext4", _fulldisk("ext4", "inodes"), ("flock",), "ext4"),
    Case("disk full, xfs", _fulldisk("xfs", "bytes"), ("flock",), "xfs"),
    Case("random names, mutated bodies", _litter),
    Case(
        "half writers, editors, links",
        _suite("tests/spool/moves/test_adopt.py", "tests/e2e/test_malformed.py"),
        ("rsync", "vim.tiny"),
    ),
    Case("a million pending, a million done", _crowd, (), "tmpfs"),
    Case("clock steps, suspend, dead watch", _suite("tests/work/test_faults.py", "tests/torture/test_suspend.py")),
    Case("no inotify, a queue of 64", _suite("tests/torture/test_events.py"), ("unshare",), obstacle=events.missing),
    Case("a queue on Slurm", _slurm, ("flock", "slurmctld"), obstacle=lambda: "needs root" if os.geteuid() else None),
    Case("every order of one job's life", lambda _, short: judge(short)),
    Case("every order of dependencies' moves", _edges),
    Case("planted faults are caught", _variants, ("strace", "flock")),
)


def run_all(wanted: list[str], short: bool) -> Iterator[tuple[Case, str, str, list[str], float]]:
    """(case, verdict, figures, problems, seconds) one after another."""
    for case in CASES:
        if wanted and not any(word in case.name for word in wanted):
            continue
        reason = case.missing()
        if reason:
            yield case, "MISSING", reason, [], 0.0
            continue
        home = Path(tempfile.mkdtemp(prefix="queuectl-torture-"))
        begun = time.monotonic()
        try:
            figures, problems = case.run(home, short)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            figures, problems = "the case itself broke", [traceback.format_exc()]
        yield case, "FAILED" if problems else "ok", figures, problems, time.monotonic() - begun
        shutil.rmtree(home, ignore_errors=True)


def main(arguments: list[str]) -> int:
    short = "--short" in arguments
    code = 0
    print(f"{'fault':<34} {'result':<8} {'seconds':>7}  figures")
    for case, verdict, figures, problems, seconds in run_all([a for a in arguments if a != "--short"], short):
        print(f"{case.name:<34} {verdict:<8} {seconds:7.0f}  {figures}", flush=True)
        for problem in problems[:10]:
            print(f"{'':<34} {problem}", flush=True)
        if verdict == "FAILED" or (verdict == "MISSING" and os.environ.get("CI")):
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
