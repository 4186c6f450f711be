"""Waking as many slots as there are jobs: none too few, and none for nothing."""

from __future__ import annotations

import random
import threading

from queuectl.work.bell import Bell
from tests.support import wait_for


class Sleepers:
    """Threads that wait for a bell again and again, and take a job each time they come, if there is one."""

    def __init__(self, number: int) -> None:
        self.lock = threading.RLock()
        self.bell = Bell(self.lock)
        self.jobs = self.woken = 0
        self._is_over = False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(number)]
        for thread in self.threads:
            thread.start()
        self.wait_asleep()

    def _run(self) -> None:
        with self.lock:
            while not self._is_over:
                if self.jobs:
                    self.jobs -= 1
                else:
                    self.bell.wait()
                    self.woken += 1

    def wait_asleep(self) -> None:
        """Until all have found that there is nothing to do."""
        wait_for(lambda: self.bell._asleep == len(self.threads) and not self.bell._coming)

    def end(self) -> None:
        with self.lock:
            self._is_over = True
            self.bell.ring_for_all()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


def test_one_job_wakes_one_however_often_it_rings() -> None:
    """Until that one has come, it is known to be coming."""
    sleepers = Sleepers(4)
    with sleepers.lock:
        sleepers.jobs = 1
        for _ in range(10):
            sleepers.bell.ring(1)
    sleepers.wait_asleep()
    assert (sleepers.jobs, sleepers.woken) == (0, 1)
    sleepers.end()


def test_more_jobs_wake_more_but_no_more_than_there_are() -> None:
    """Those who come already are counted; with more jobs than sleepers all come, and none is forgotten."""
    sleepers = Sleepers(4)
    with sleepers.lock:
        for jobs in (1, 3, 9):
            sleepers.jobs = jobs
            sleepers.bell.ring(jobs)
    sleepers.wait_asleep()
    assert (sleepers.jobs, sleepers.woken) == (0, 4)
    sleepers.end()


def test_no_ring_is_lost() -> None:
    """However it rings: whenever there is a job and somebody asleep, somebody comes."""
    rng, sleepers = random.Random(7), Sleepers(3)
    for _ in range(500):
        with sleepers.lock:
            sleepers.jobs += rng.randrange(4)
            if rng.random() < 0.2:
                sleepers.bell.ring_for_all()
            sleepers.bell.ring(sleepers.jobs)
        if rng.random() < 0.3:
            wait_for(lambda: not sleepers.jobs, "the last jobs")
    sleepers.wait_asleep()
    assert sleepers.jobs == 0
    sleepers.end()
