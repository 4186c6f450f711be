"""`SpoolExecutor`: the queue as `concurrent.futures` has it, for commands instead of functions."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_all
from typing import Any, Unpack

from queuectl.core.job import Job
from queuectl.core.result import CANCELLED, State
from queuectl.errors import QueuectlError, WaitTimeoutError
from queuectl.spool.keywords import Command, JobFields
from queuectl.spool.reading import output
from queuectl.spool.store import Spool


class JobFailedError(QueuectlError):
    """A job has ended, and not with success; `job` says how."""

    def __init__(self, job: Job, why: str) -> None:
        super().__init__(f"job {job.id} ended with {job.result}", why, f"see: queuectl logs {job.id}")
        self.job = job

    def __reduce__(self) -> tuple[type[JobFailedError], tuple[Job, str]]:
        return JobFailedError, (self.job, self.why)


class JobFuture(Future[Job]):
    """A job that will end. `job` is it as it was submitted and, once it has ended, as it ended.

    `result()` is the job if it exited with 0, and raises JobFailedError, which has it, if not: once it is in the dead
    letters, after its retries. It raises NotFoundError if the job is deleted before it has ended, and CancelledError if
    it was cancelled, here or by anybody else. A future holds no process and no thread: its job runs on without it.
    Callbacks run in the thread that watches the spool, and should not wait in it for other jobs.
    """

    def __init__(self, spool: Spool, job: Job) -> None:
        super().__init__()
        self.job = job
        self._spool = spool
        self._settling = threading.Lock()
        self._is_settled = False

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def exit_code(self) -> int | None:
        """What the command exited with; None while it has not ended, and if it ended in another way."""
        result = self.job.result
        return result.code if result is not None and result.kind == "exit" else None

    def output(self) -> str:
        """What its last attempt has written so far, as `Spool.output`."""
        return self._spool.output(self.job)

    def running(self) -> bool:
        """Whether it runs just now. This lists the spool."""
        job = None if self.done() else self._spool.states([self.id])[self.id]
        return job is not None and job.state is State.RUNNING

    def cancel(self) -> bool:
        """Take the job out of the queue, or end it with all its processes if it runs; False if it has ended.

        Raises WaitTimeoutError, as `Spool.cancel`, if it is not known in time whether all of it has ended.
        """
        return _cancel(self._spool, [self])

    def settle(self, ended: Job | QueuectlError) -> None:
        """Set how the job has ended, the first time this is called."""
        with self._settling:
            if self._is_settled:
                return
            self._is_settled = True
        if isinstance(ended, QueuectlError):
            self.set_exception(ended)
            return
        self.job = ended
        if ended.result == CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
        elif ended.state is State.DONE:
            self.set_result(ended)
        else:
            self.set_exception(JobFailedError(ended, self._last_line()))

    def _last_line(self) -> str:
        try:
            return output.read_last_line(self._spool.layout, self.id)
        except Exception:  # whatever is in the log, nobody may wait for ever
            return ""


class SpoolExecutor(Executor):
    """Submits commands as jobs, which workers of the spool run, and has a future for each.

        with SpoolExecutor("spool", group="thumbs", timeout="5m") as executor:
            for future in as_completed([executor.submit(["convert", name, f"{name}.png"]) for name in names]):
                print(future.id, future.exit_code, future.output())

    `fields` are those of every job, unless `submit` has others. It starts no worker. One thread watches the spool,
    however many jobs there are. What has been submitted is in the queue, and runs also if the program ends; on leaving
    the `with`, as with any executor, it waits for what is open.
    """

    def __init__(self, spool: Spool | str | os.PathLike[str] | None = None, **fields: Unpack[JobFields]) -> None:
        self.spool = spool if isinstance(spool, Spool) else Spool(spool)
        self._fields = fields
        self._lock = threading.Lock()
        self._open: dict[str, JobFuture] = {}
        self._is_shut_down = False

    def submit(  # type: ignore[override] # what other executors take there is a function
        self, command: Command, /, *, extra: Mapping[str, Any] | None = None, **fields: Unpack[JobFields]
    ) -> JobFuture:
        """Queue a command, as `Spool.enqueue` does: once this returns, the job survives a power cut."""
        self._require_open()
        merged: JobFields = {**self._fields, **fields}
        return self._follow(self.spool.enqueue(command, extra=extra, **merged))

    def submit_all(self, jobs: Iterable[Mapping[str, object]]) -> list[JobFuture]:
        """Queue many jobs, in durable groups, as `Spool.enqueue_many` does; much faster than one by one.

        Raises the error of the first that is not a job; those before it, and others of its group, are queued.
        """
        self._require_open()
        futures: list[JobFuture] = []
        failed: QueuectlError | None = None
        for outcome in self.spool.enqueue_many({**self._fields, **job} for job in jobs):
            if isinstance(outcome, QueuectlError):
                failed = failed or outcome
            else:
                futures.append(self._follow(outcome))
        if failed is not None:
            raise failed
        return futures

    def map(  # type: ignore[override]
        self,
        make_command: Callable[..., Command],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Job]:
        """The ended jobs of the commands that `make_command` makes of each item, or items, in their order.

        All are queued at once. A job that failed raises JobFailedError when its turn comes, and a job that has not
        ended within `timeout` seconds of this call TimeoutError; the others continue.
        """
        import time

        deadline = None if timeout is None else time.monotonic() + timeout
        commands = [make_command(*items) for items in zip(*iterables, strict=False)]
        futures = self.submit_all({"command": command} for command in commands)

        def results() -> Iterator[Job]:
            for future in futures:
                yield future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))

        return results()

    def follow(self, id: str | Job) -> JobFuture:
        """A future of a job that is in the queue, or has been: of one that the program submitted before, for one."""
        self._require_open()
        return self._follow(id if isinstance(id, Job) else self.spool.get(id))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more; wait for the jobs that are open, or cancel them first, those that run too.

        Without both, they stay in the queue and run.
        """
        with self._lock:
            self._is_shut_down = True
            left = [*self._open.values()]
        if cancel_futures:
            _cancel(self.spool, left)
        if wait:
            wait_for_all(left)

    def _require_open(self) -> None:
        if self._is_shut_down:
            raise RuntimeError("cannot submit after shutdown")

    def _follow(self, job: Job) -> JobFuture:
        future = JobFuture(self.spool, job)
        with self._lock:
            self._open[job.id] = future
        future.add_done_callback(self._forget)
        self.spool.endings.add([job], lambda _, ended: future.settle(ended))
        return future

    def _forget(self, future: Future[Job]) -> None:
        with self._lock:
            if isinstance(future, JobFuture) and self._open.get(future.id) is future:
                del self._open[future.id]


def _cancel(spool: Spool, futures: Iterable[JobFuture]) -> bool:
    """Cancel the jobs of futures that have not ended, with one listing; whether all were, or had been before.

    Raises WaitTimeoutError for the first of which it is not known whether all of it has ended.
    """
    by_id = {future.id: future for future in futures}
    outcomes = spool.cancel_all(id for id, future in by_id.items() if not future.done())
    unknown: WaitTimeoutError | None = None
    for id, outcome in outcomes.items():
        if isinstance(outcome, Job):
            by_id[id].settle(outcome)
        elif isinstance(outcome, WaitTimeoutError):
            unknown = unknown or outcome
    if unknown is not None:
        raise unknown
    return all((id in outcomes and isinstance(outcomes[id], Job)) or future.cancelled() for id, future in by_id.items())
