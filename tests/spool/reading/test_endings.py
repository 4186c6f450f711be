"""`Spool.wait_async`, and the thread that all waits share."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from queuectl import BrakedError, Job, NotFoundError, Spool, UsageError, WaitTimeoutError
from queuectl.spool.reading import endings
from queuectl.spool.system import clock, pause
from tests.support import wait_for, workers


def test_wait_async_answers_as_wait_does(spool: Spool) -> None:
    """One job, several in their order, or the first of several; in the meantime the loop is free."""

    async def use() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        jobs = [spool.enqueue(f"sleep 0.{number}; exit {number}", max_retries=0) for number in (2, 0)]
        first = await spool.wait_async(jobs, any=True, timeout=30)
        assert first.id == jobs[1].id
        both = await spool.wait_async([job.id for job in jobs], timeout=30)
        assert [str(job.result) for job in both] == ["exit2", "exit0"]
        assert (await spool.wait_async(jobs[0].id)).id == jobs[0].id
        ticking.cancel()
        assert ticks > 20

    with workers(spool.path, 1, "--count", "2"):
        asyncio.run(use())


def test_waits_share_one_thread(spool: Spool) -> None:
    """A hundred tasks that wait for a job each need one thread, and each gets its own."""

    before = {*threading.enumerate()}

    async def use() -> None:
        jobs = [spool.enqueue("true") for _ in range(100)]
        waits = [asyncio.create_task(spool.wait_async(job, timeout=60)) for job in jobs]
        await asyncio.sleep(0)
        ended = await asyncio.gather(*waits)
        assert [job.id for job in ended] == [job.id for job in jobs]
        watching = {each for each in threading.enumerate() if each.name == "queuectl-endings"}
        assert len(watching - before) == 1

    with workers(spool.path, 1, "--count", "2"):
        asyncio.run(use())


def test_wait_async_raises_as_wait_does(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout, a deleted job, a brake and an empty choice are errors."""
    job = spool.enqueue("true")
    with pytest.raises(WaitTimeoutError, match="still pending"):
        asyncio.run(spool.wait_async(job, timeout=0.01))
    with pytest.raises(UsageError):
        asyncio.run(spool.wait_async([], any=True))
    assert asyncio.run(spool.wait_async([])) == []
    monkeypatch.setattr(endings, "_BRAKE", 0.01)
    pause.write(spool.layout, "3 failed", counted=pause.counted_from(spool.layout, clock.now, ""))
    with pytest.raises(BrakedError, match="3 failed"):
        asyncio.run(spool.wait_async(job))
    os.unlink(job.path)
    with pytest.raises(NotFoundError) as caught:
        asyncio.run(spool.wait_async(job))
    assert caught.value.id == job.id


def test_cancelled_wait_is_forgotten(spool: Spool) -> None:
    """To cancel a task that waits leaves its job alone, and nothing of the wait."""
    job = spool.enqueue("true")

    async def use() -> None:
        task = asyncio.create_task(spool.wait_async(job))
        while not spool.endings._calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(use())
    assert spool.endings._calls == {}
    wait_for(lambda: not (spool.endings._watch and spool.endings._watch.open), "the watch to be empty")
    assert spool.counts().pending == 1


def test_forked_process_has_a_thread_of_its_own(spool: Spool) -> None:
    """What a fork has copied of a wait does not keep the child from waiting."""
    job = spool.enqueue("true")
    spool.endings.add([job], lambda *_: None)
    done = spool.cancel(job)
    child = os.fork()
    if child == 0:
        ended = threading.Event()
        spool.endings.add([done], lambda *_: ended.set())
        os._exit(0 if ended.wait(20) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_call_for_a_job_that_has_ended_comes_at_once(spool: Spool) -> None:
    """Nothing needs to happen in the spool."""
    job = spool.cancel(spool.enqueue("true"))
    called: list[Job] = []
    spool.endings.add([job], lambda _, ended: called.append(ended))  # type: ignore[arg-type]
    wait_for(lambda: called, "the call")
