"""Dependencies in large numbers: a child submitted at the very moment its dependency ends, again and again; and
fan-ins, fan-outs and chains, whose calls must grow in proportion to their size.

    python -m tests.torture.dependents moments|fan-in|broken|alarm|fan-out|chain|undone NUMBER

Jobs are settled as a worker does it, but for their commands, so what is counted is the work of the spool.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

from queuectl import Spool
from queuectl.core import lifecycle
from queuectl.core.names import PendingName
from queuectl.core.result import SUCCESS, Result, State
from queuectl.errors import QueuectlError
from queuectl.spool.moves import claims, dependents
from queuectl.spool.system import clock, listing
from tests.support import environment
from tests.torture import counting

count = counting.Count()
_SPAWN = multiprocessing.get_context("spawn")
WORKER = "web1.4242.k7f3"


def finish(spool: Spool, id: str, result: Result = SUCCESS, ready: Callable[[], object] = lambda: None) -> None:
    """Claim a job that is due and settle it, as a worker does; `ready` is called in between."""
    place = dependents.whereabouts(spool.layout).look(id)  # a worker would have the name from its listing
    assert place is not None
    name = place[1]
    assert isinstance(name, PendingName)
    claim = claims.claim(spool.layout, name, WORKER, clock.now)
    assert claim is not None, id
    os.close(claim.log)
    ready()
    act = lifecycle.succeed if result == SUCCESS else lifecycle.give_up
    assert claims.settle(spool.layout, claim.name, act(claim.name, result, 0.1, clock.now()))


# --- at the same moment


_OF_A_SPOOL = 200  # a submit that names an id lists pending/, and the children stay there


def _settle_all(path: Path, number: int, together: Barrier) -> None:
    spool = Spool(path)
    for n in range(number):
        together.wait()  # it is there
        finish(spool, f"a{n}", SUCCESS if n % 2 else Result.exit(1), together.wait)


def at_one_moment(home: Path, number: int) -> list[str]:
    """The children that did not start, or were not skipped, though nobody but the two processes ever looked at them."""
    wrong: list[str] = []
    for start in range(0, number, _OF_A_SPOOL):
        wrong += _at_one_moment(home / f"moments-{start}", min(_OF_A_SPOOL, number - start))
    return wrong


def _at_one_moment(path: Path, number: int) -> list[str]:
    spool, together = Spool(path, create=True), _SPAWN.Barrier(2)
    other = _SPAWN.Process(target=_settle_all, args=(spool.path, number, together))
    other.start()
    for n in range(number):
        spool.enqueue("true", id=f"a{n}")
        together.wait()
        together.wait()
        end = time.perf_counter() + n % 40 * 5e-5  # so that every step of one meets every step of the other
        while time.perf_counter() < end:
            pass
        spool.enqueue("true", id=f"c{n}", after=[f"a{n}"])
    other.join()
    wrong = []
    for job in spool.list():
        if job.id[0] == "c":
            is_good = int(job.id[1:]) % 2 == 1
            is_due = job.state is State.PENDING and not job.is_waiting
            if not (is_due if is_good else job.state is State.DEAD):
                wrong.append(f"{job.id} is {'waiting' if job.is_waiting else job.state}")
            if is_good and os.path.exists(f"{spool.layout.edges('a' + job.id[1:])}"):
                wrong.append(f"the edge of {job.id} is left")
    return wrong


# --- shapes


def _submit(spool: Spool, jobs: list[dict[str, object]]) -> None:
    for outcome in spool.enqueue_many(jobs):
        if isinstance(outcome, QueuectlError):
            raise outcome


def _fan_in(spool: Spool, number: int) -> None:
    _submit(spool, [{"command": "true", "id": f"in.{n}"} for n in range(number)])
    _submit(spool, [{"command": "true", "id": "last", "after": ["in."]}])


def _fan_out(spool: Spool, number: int) -> None:
    _submit(spool, [{"command": "true", "id": "first"}])
    _submit(spool, [{"command": "true", "id": f"out.{n}", "after": ["first"]} for n in range(number)])


def _chain(spool: Spool, number: int) -> None:
    jobs: list[dict[str, object]] = [{"command": "true", "id": "c0"}]
    jobs += [{"command": "true", "id": f"c{n}", "after": [f"c{n - 1}"]} for n in range(1, number)]
    _submit(spool, jobs)


def _end_fan_in(spool: Spool, number: int) -> None:
    dependents.whereabouts(spool.layout).expect(f"in.{n}" for n in range(number))
    for n in range(number):
        finish(spool, f"in.{n}")
    assert not spool.get("last").is_waiting


def _end_fan_out(spool: Spool, _: int) -> None:
    finish(spool, "first")
    assert spool.counts().waiting == 0


def _end_chain(spool: Spool, number: int) -> None:
    for n in range(number):
        finish(spool, f"c{n}")
    assert spool.counts().done == number


def _skip_chain(spool: Spool, number: int) -> None:
    """Its first job fails, so all others are skipped; then it is retried, and all come back."""
    finish(spool, "c0", Result.exit(1))
    assert spool.counts().dead == number
    spool.retry("c0")
    assert spool.counts().waiting == number - 1


def _alarm(spool: Spool, number: int) -> None:
    _submit(spool, [{"command": "true", "id": f"in.{n}"} for n in range(number)])
    _submit(spool, [{"command": "true", "id": "last", "after_failed": ["in."]}])


def _break_fan_in(spool: Spool, number: int) -> None:
    """The first of them fails, so the last job is skipped, and then the others end."""
    dependents.whereabouts(spool.layout).expect(f"in.{n}" for n in range(number))
    for n in range(number):
        finish(spool, f"in.{n}", SUCCESS if n else Result.exit(1))
    assert spool.get("last").state is State.DEAD


SHAPES = {
    "fan-in": (_fan_in, _end_fan_in),
    "broken": (_fan_in, _break_fan_in),
    "alarm": (_alarm, _end_fan_in),
    "fan-out": (_fan_out, _end_fan_out),
    "chain": (_chain, _end_chain),
    "undone": (_chain, _skip_chain),
}


def measure(home: Path, shape: str, number: int) -> dict[str, float]:
    """Seconds to submit a shape of that size and to end it, and, as far as `count` was installed, the calls and listed
    names that each job took."""
    spool = Spool(home / f"{shape}-{number}", create=True)
    submit, end = SHAPES[shape]
    begun, before = time.perf_counter(), count.calls + count.names
    submit(spool, number)
    between = time.perf_counter()
    end(spool, number)
    took = round(between - begun, 2), round(time.perf_counter() - between, 2)
    return {"submit": took[0], "end": took[1], "calls": round((count.calls + count.names - before) / number, 1)}


def grow(number: int) -> tuple[str, list[str]]:
    """Every shape, of that size and of a fifth of it, in a process of its own: figures, and what grew faster."""
    texts, problems = [], []
    for shape in SHAPES:
        words = [sys.executable, "-m", "tests.torture.dependents", shape]
        small, large = (
            json.loads(subprocess.run([*words, f"{size}"], check=True, capture_output=True, env=environment()).stdout)
            for size in (number // 5, number)
        )
        texts.append(f"{shape} {large['submit'] + large['end']:.0f} s, {large['calls']:.0f} calls a job")
        if large["calls"] > 1.3 * small["calls"] + 2:
            problems.append(f"{shape}: {small['calls']} calls a job, and {large['calls']} of {number}")
    return "; ".join(texts), problems


def main(arguments: list[str]) -> int:
    what, number = arguments[0], int(arguments[1])
    count.install()
    listing._records = count.counting(listing._records)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(prefix="queuectl-dependents-", dir="/dev/shm") as home:
        if what == "moments":
            problems = at_one_moment(Path(home), number)
            print(json.dumps({"moments": number, "problems": problems}))
            return 1 if problems else 0
        print(json.dumps({"shape": what, "number": number, **measure(Path(home), what, number)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
