"""Trying what several hosts need of a file system on the spool's own directory, by two processes or by two hosts.

Both claim the same files, each by a rename to a name of its own, as workers do. Two hosts find each other by a file in
tmp/, which each keeps renaming as long as it is there. Then they do the same steps, and each of them reports. All files
of a trial are in one directory in tmp/, which the one whose name comes first removes.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from queuectl.core.text import format_seconds
from queuectl.errors import WaitTimeoutError
from queuectl.spool.system import files, host
from queuectl.spool.system.identity import random_text
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.trigger import Trigger

FILES = 200
"""What is claimed, of which each has one owner in the end."""
ROUNDS = 10
"""How often both move a file of their own and look for the other's."""
_PATIENCE = 30.0  # seconds for one step of the other
_PAUSE = 0.01
_BEAT = 0.1
_SKEW = 2.0


class Found(NamedTuple):
    """One thing that was tried: `what`, how it went, and what follows if it is not `good`."""

    what: str
    said: str
    advice: str = ""
    is_good: bool = True


def race(layout: Layout) -> Found:
    """Two processes of this host claim the same files."""
    place = f"{layout.tmp}/race-{random_text(8)}"
    os.mkdir(place, 0o700)
    try:
        _fill(place)
        child = os.fork()
        if child == 0:
            try:
                _claim(place, "b")
            finally:
                os._exit(0)
        _claim(place, "a")
        os.waitpid(child, 0)
        return _judge(os.listdir(place), "two processes")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _fill(place: str) -> None:
    for number in range(FILES):
        files.write_new(f"{place}/open-{number}", b"", sync=False)


def _claim(place: str, me: str) -> None:
    """Rename every open file to one's own name, a quarter of them at most before the other has one, too.

    In an order of its own: in the same one, who is behind finds each file gone, and there is no race.
    """
    rng, had = random.Random(me), 0
    while left := [name for name in os.listdir(place) if name.startswith("open-")]:
        for name in rng.sample(left, len(left)):
            if files.move(f"{place}/{name}", f"{place}/had-{me}-{name.removeprefix('open-')}"):
                had += 1
                if had == FILES // 4:
                    _await_other(place, me)


def _await_other(place: str, me: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not {name.split("-")[1] for name in os.listdir(place) if name.startswith("had-")} - {me}:
        if time.monotonic() > deadline:
            return


def _judge(names: list[str], who: str) -> Found:
    owners = Counter(name.rpartition("-")[2] for name in names if name.startswith("had-"))
    shares = Counter(name.split("-")[1] for name in names if name.startswith("had-"))
    wrong = [number for number in map(str, range(FILES)) if owners[number] != 1]
    said = f"{who} claimed {FILES} files: {' and '.join(str(count) for _, count in sorted(shares.items()))}"
    if wrong:
        return Found("claims", f"{said}; {len(wrong)} of them have no owner, or two", "use another file system", False)
    return Found("claims", f"{said}, each of them once")


class _Peer:
    """One of two hosts."""

    def __init__(self, layout: Layout, patience: float) -> None:
        self._layout = layout
        self.me = f"{host.here(layout).name}.{os.getpid()}.{random_text(4)}"
        self._seen: dict[str, str] = {}
        self._is_over = threading.Event()
        self._beat = threading.Thread(target=self._show, name="peer", daemon=True)
        self._beat.start()
        try:
            self.other = self._await(self._find_other, patience, "no other host: run it there at the same time")
        except BaseException:
            self.close()
            raise
        self.leads = self.me < self.other
        self.place = f"{layout.tmp}/peers-{min(self.me, self.other)}"

    def close(self) -> None:
        self._is_over.set()
        self._beat.join()

    def _show(self) -> None:
        """Keep renaming a file, so that the other knows it for one that is not left over."""
        number = 0
        path = f"{self._layout.tmp}/peer-0-{self.me}"
        files.write_new(path, b"", sync=False)
        while not self._is_over.wait(_BEAT):
            number += 1
            following = f"{self._layout.tmp}/peer-{number}-{self.me}"
            with suppress(OSError):
                path = following if files.move(path, following) else path
        files.remove(path)

    def _find_other(self) -> str | None:
        """Another host whose file has moved since it was first seen."""
        for name in sorted(os.listdir(self._layout.tmp)):
            who = name.split("-", 2)[-1] if name.startswith("peer-") else self.me
            if who != self.me and self._seen.setdefault(who, name) != name:
                return who
        return None

    def _await(self, look: Callable[[], object], patience: float, what: str) -> str:
        deadline = time.monotonic() + patience
        while True:
            found = look()
            if found:
                return str(found)
            if time.monotonic() > deadline:
                raise WaitTimeoutError(what)
            time.sleep(_PAUSE)

    def meet(self, step: str) -> None:
        """Until the other has come to this step, too."""
        files.write_new(f"{self.place}/{step}-{self.me}", b"", sync=False)
        wanted = f"{step}-{self.other}"
        self._await(lambda: wanted in os.listdir(self.place), _PATIENCE, f"the other host, {self.other}, has stopped")

    def run(self) -> Iterator[Found]:
        if self.leads:
            os.mkdir(f"{self.place}.new", 0o700)
            _fill(f"{self.place}.new")
            files.move(f"{self.place}.new", self.place)
        base = os.path.basename(self.place)
        self._await(lambda: base in os.listdir(self._layout.tmp), _PATIENCE, f"{self.other} has stopped")
        heard: list[str] = []
        trigger = Trigger(self._layout, lambda path: heard.append(path or ""), [self.place])
        try:
            self.meet("here")
            _claim(self.place, self.me)
            self.meet("claimed")
            yield _judge(os.listdir(self.place), f"this host and {self.other}")
            yield self._look_at_listings()
            yield self._look_at_events(heard)
            yield self._look_at_clock()
            self.meet("over")
        finally:
            trigger.close()
            self.close()
            if self.leads:
                time.sleep(1.0)  # until the other has seen the last step
                shutil.rmtree(self.place, ignore_errors=True)

    def _look_at_listings(self) -> Found:
        """Both move a file of their own there at one moment, and list: one of them must see the other's."""
        missed, longest = 0, 0.0
        for number in range(ROUNDS):
            files.write_new(f"{self.place}/make-{number}-{self.me}", b"", sync=False)
            self.meet(f"round{number}")
            files.move(f"{self.place}/make-{number}-{self.me}", f"{self.place}/move-{number}-{self.me}")
            saw = f"move-{number}-{self.other}" in os.listdir(self.place)
            begun = time.monotonic()
            wanted = f"move-{number}-{self.other}"
            self._await(lambda wanted=wanted: wanted in os.listdir(self.place), _PATIENCE, f"{self.other} has stopped")  # type: ignore[misc]
            longest = max(longest, time.monotonic() - begun)
            files.write_new(f"{self.place}/saw-{number}-{int(saw)}-{self.me}", b"", sync=False)
            self.meet(f"saw{number}")
            both = [name for name in os.listdir(self.place) if name.startswith(f"saw-{number}-")]
            missed += not any(name.startswith(f"saw-{number}-1-") for name in both)
        said = f"a change of the other host was listed after {format_seconds(longest)} at most"
        if missed:
            advice = "limits of groups may be passed for a moment; see docs/hosts.md for mount options"
            return Found("listings", f"{said}; {missed} of {ROUNDS} times neither saw the other's", advice, False)
        return Found("listings", f"{said}, and one of two that list always saw the other's")

    def _look_at_events(self, heard: list[str]) -> Found:
        if any(self.other in os.path.basename(path) for path in [*heard]):
            return Found("events", "changes by the other host cause events here: workers need not poll")
        return Found("events", "changes by the other host cause no events here: workers poll")

    def _look_at_clock(self) -> Found:
        self.meet("time")
        mine = time.time()
        files.write_new(f"{self.place}/clock-{mine:.1f}-{self.me}", b"", sync=False)
        name = self._await(self._find_clock, _PATIENCE, f"{self.other} has stopped")
        ahead = float(name.split("-")[1]) - mine
        if abs(ahead) < _SKEW:
            return Found("clocks", f"both hosts have the same time, to {_SKEW:g} s")
        which = "ahead of" if ahead > 0 else "behind"
        said = f"the clock of {self.other} is {format_seconds(abs(ahead))} {which} this one"
        return Found("clocks", said, "sync both hosts with the same time server", False)

    def _find_clock(self) -> str | None:
        names = os.listdir(self.place)
        return next((name for name in names if name.startswith("clock-") and name.endswith(f"-{self.other}")), None)


def meet(layout: Layout, patience: float = 60.0) -> Iterator[Found]:
    """What this host and another one, on which the same is run at the same time, find out together.

    Raises WaitTimeoutError if there is no other within `patience` seconds, or it has stopped.
    """
    peer = _Peer(layout, patience)
    yield Found("peer", f"this is {peer.me}, the other is {peer.other}")
    yield from peer.run()
