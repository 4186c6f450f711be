"""What runs jobs on a Dask worker: a plugin that a bridge (dask_bridge.py) installs there.

The job runs below the same shell as on any machine (executor.py), with a file without a name as its log; what is
written there, queuectl's own lines and all, is sent to the bridge, which appends it to the job's log as it is. Little
output is sent as events, by way of the scheduler and in order; much is fetched by the bridge, at its own pace.

Each attempt is started once at most: the task names the very worker process that may start it, and what the bridge has
taken back is not started. The plugin keeps what it knows of an attempt until a bridge says that the job is settled, so
another bridge can take over. When the Dask worker is stopped or loses its scheduler, its jobs are ended and given back;
when it is killed, its reaper (reaper.py) kills them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, NamedTuple

from distributed import Client, Worker, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from queuectl import __version__
from queuectl.core.fields import Body
from queuectl.core.names import RunningName
from queuectl.core.result import Result
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import holes, logs, processes
from queuectl.work.engines import reaper
from queuectl.work.engines.executor import Execution, Executor
from queuectl.work.places import Given
from queuectl.work.spawn import Spawner, strings

NAME = "queuectl"
"""Of the plugin, of the resource that stands for its slots, and of the operation that `Host.answer` carries out."""
SMALL = 16 << 10
"""Bytes of output that are sent as an event; what is more is fetched."""
MOST = 1 << 20
"""Bytes of output that are fetched at a time."""
_TICK = 0.1  # seconds between looks at what the jobs have written
LONGEST_GRACE = 3.0
"""Seconds: a nanny kills a worker that takes more than five to close."""
_WAIT_FOR_STOP = 2.0  # seconds for which a death by SIGTERM may turn out to be part of the end of this worker
_KEPT_HEAD = 4096  # bytes at the beginning of the output, where its start line is
_LAST_CALL = 2.0  # seconds
_EVENTS_APART = 0.02  # seconds: what happens in between is sent together


class Task(NamedTuple):
    """One attempt, as it is sent: `worker` is the id of the Dask worker process that may start it."""

    worker: str
    topic: str
    spool: str
    name: RunningName
    body: Body
    variables: Mapping[str, str] | None
    timeout: float | None
    grace: float

    @property
    def token(self) -> str:
        return processes.token_of(self.name, self.name.worker)


def run(tasks: Sequence[Task]) -> None:
    """Run attempts to their ends, one after the other, in a thread of a Dask worker. How each ended is an event."""
    host = get_worker().plugins.get(NAME)
    if isinstance(host, Host):
        for task in tasks:
            host.run(task)


async def install(dask_worker: Worker) -> dict[str, Any]:
    """Make this Dask worker one that runs jobs, unless it is; what it says of itself."""
    host = dask_worker.plugins.get(NAME)
    if not isinstance(host, Host):
        await dask_worker.plugin_add(Host(), name=NAME, catch_errors=False)
        host = dask_worker.plugins[NAME]
        assert isinstance(host, Host)
    await host.is_set_up.wait()  # RACE: another bridge is installing it (tests/work/engines/test_dask.py)
    return host.describe()


class _Attempt:
    """One that was started here. `sent` bytes of its output have been sent; `end` is set once it is over."""

    def __init__(self, task: Task, file: int) -> None:
        self.task = task
        self.topic = task.topic
        self.file = file
        self.begun = time.monotonic()
        self.execution: Execution | None = None
        self.ending: tuple[str, float] | None = None  # it is to be ended, though it has not begun yet
        self.is_at_limit = False  # it is ended as the time of this worker is up
        self.deadline: float | None = None
        self.sent = 0
        self.is_fetched = False
        self.end: dict[str, Any] | None = None
        self.lock = threading.Lock()

    @property
    def size(self) -> int:
        return os.fstat(self.file).st_size


class Host(WorkerPlugin):
    """Runs jobs on one Dask worker."""

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.is_set_up = asyncio.Event()
        self._topics: set[str] = set()  # of the bridges that have sent anything

    async def setup(self, worker: Worker) -> None:
        self._worker = worker
        self._mark = str(worker.id)
        self._attempts: dict[str, _Attempt] = {}
        self._started: set[str] = set()  # all that a bridge has not settled yet
        self._refused: set[str] = set()
        self._executors: dict[tuple[str, str], Executor] = {}
        self._lock = threading.Lock()
        self._is_closing = False
        self._outbox: dict[str, list[dict[str, Any]]] = {}  # by topic; for the loop only
        self._unsent: list[dict[str, list[dict[str, Any]]]] = []
        self._sent_at = 0.0
        self._directory = worker.local_directory or tempfile.gettempdir()
        self._start_reaper()
        worker.handlers[NAME] = self.answer
        await self._announce(worker)
        self._ticker = asyncio.create_task(self._tick())
        self._catch_sigterm()
        self.is_set_up.set()

    async def _announce(self, worker: Worker) -> None:
        """Give the scheduler the number of its slots."""
        await worker.set_resources(**{NAME: worker.state.nthreads})

    async def teardown(self, worker: Worker) -> None:
        """End what runs, and give it back; then whatever else its jobs have left."""
        await self._end_all()
        await self._send_unsent()
        self._ticker.cancel()
        worker.handlers.pop(NAME, None)
        os.close(self._leash)

    def _catch_sigterm(self) -> None:
        """End the jobs before Dask hears of a SIGTERM: distributed 2026.8 leaves its scheduler first, and then nobody
        can be told that they were given back."""
        with suppress(ValueError):  # Dask does not run in the main thread: signals are another's business
            self._previous = signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, self._previous)
        self._worker.loop.add_callback_from_signal(self._leave, number, frame)

    async def _leave(self, number: int, frame: FrameType | None) -> None:
        await self._end_all()
        await asyncio.sleep(_EVENTS_APART * 5)  # until that has been sent
        if callable(self._previous):
            self._previous(number, frame)
        else:
            os.kill(os.getpid(), number)

    async def _end_all(self, *, is_at_limit: bool = False) -> None:
        """End what runs, and say that it is given back, and what has begun at all. Nothing more will.

        `is_at_limit` says that the time of this worker is up.
        """
        with self._lock:
            was_closing, self._is_closing = self._is_closing, True
            live = [attempt for attempt in self._attempts.values() if attempt.end is None]
        grace = min([LONGEST_GRACE, *(attempt.task.grace for attempt in live)])
        if not was_closing:  # first, or what is given back would be sent here again
            self._say_closing()
        for attempt in live:
            attempt.is_at_limit = is_at_limit
            self._stop(attempt, "release", grace)
        deadline = time.monotonic() + grace + 1
        while any(attempt.end is None for attempt in live) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0)  # for what their threads have said last
        self._flush()

    def _say_closing(self) -> None:
        """Nothing starts here from now on but what has; said to each bridge that has sent something."""
        for topic in list(self._topics):
            self._post(topic, {"event": "closing", "worker": self._mark, "started": list(self._started)})

    def describe(self) -> dict[str, Any]:
        return {
            "id": self._mark,
            "version": __version__,
            "nthreads": self._worker.state.nthreads,
            "name": str(self._worker.name),
            "host": os.uname().nodename,
        }

    def _start_reaper(self) -> None:
        self._launch_reaper()

    def _launch_reaper(self, descriptors: tuple[tuple[int, int], ...] = (), *more: str) -> None:
        """It holds the reading end of a pipe, which nothing else may: no job inherits the other one."""
        reading, self._leash = os.pipe2(os.O_CLOEXEC)
        try:
            words = [sys.executable, "-S", "-E", reaper.__file__, self._mark, *more]
            variables = [b"%b=%b" % item for item in os.environb.items()]
            self._reaper = Spawner().spawn(
                os.fsencode(sys.executable),
                strings([os.fsencode(word) for word in words]),
                strings(variables),
                ((0, reading), *descriptors),
            )
        finally:
            os.close(reading)

    def _keep_reaper(self) -> None:
        """Start another if somebody has killed it."""
        if os.waitid(os.P_PID, self._reaper, os.WEXITED | os.WNOHANG) is not None:
            os.close(self._leash)
            self._start_reaper()

    # --- an attempt, in a thread of its own

    def run(self, task: Task) -> None:
        """Start the attempt unless it was started, was taken back, or is meant for another process; await its end."""
        token = task.token
        with self._lock:
            if task.worker != self._mark or token in self._refused or token in self._started:
                return
            if self._is_closing:
                what = {"event": "closing", "worker": self._mark, "started": list(self._started)}
                self._worker.loop.add_callback(self._post, task.topic, what)
                return
            self._topics.add(task.topic)
            attempt = self._attempts[token] = _Attempt(task, _open_output(self._directory))
            self._started.add(token)
        try:
            result = self._execute(attempt)
        except OSError as error:
            self._finish(attempt, {"errno": error.errno or 0, "error": error.strerror or str(error)})
        else:
            self._finish(attempt, self._describe_end(attempt, result))

    def _execute(self, attempt: _Attempt) -> Result:
        task = attempt.task
        claim = Claim(task.name, task.name.started_at, task.body, attempt.file, 0)
        given = Given((), task.variables or {})
        execution = self._executor_of(task).start(claim, given)
        with attempt.lock:
            attempt.execution, ending = execution, attempt.ending
        if task.timeout is not None:
            attempt.deadline = attempt.begun + task.timeout
        if ending is not None:
            execution.stop(*ending)
        return execution.wait(task.grace)

    def _executor_of(self, task: Task) -> Executor:
        """One that names the spool to the job only if it is here too: its log is a name that no other spool has."""
        is_here = os.path.exists(f"{task.spool}/logs/{task.name.id}.log")
        key = task.spool if is_here else "", task.name.worker
        with self._lock:
            if key not in self._executors:
                marks = {reaper.VARIABLE.encode(): self._mark.encode()}
                self._executors[key] = Executor(key[0], key[1], marks)
            return self._executors[key]

    def _describe_end(self, attempt: _Attempt, result: Result) -> dict[str, Any]:
        execution = attempt.execution
        assert execution is not None
        reason = execution.reason
        if reason is None and result.kind == "signal" and result.code == signal.SIGTERM and self._is_being_stopped():
            reason = "release"
        return {
            "result": str(result),
            "reason": reason,
            "is_at_limit": attempt.is_at_limit,
            "pid": execution.pid,
            "usage": list(execution.usage or ()),
            "took": time.monotonic() - attempt.begun,
        }

    def _is_being_stopped(self) -> bool:
        """Whether what ended a job by SIGTERM ends this worker, too, as a batch system does that signals all."""
        deadline = time.monotonic() + _WAIT_FOR_STOP
        while time.monotonic() < deadline:
            if self._is_closing or self._worker.status.name != "running":
                return True
            time.sleep(0.05)
        return False

    def _finish(self, attempt: _Attempt, end: dict[str, Any]) -> None:
        """It is over: say so, with what is left of its output if that is little."""
        with attempt.lock:
            size = attempt.size
            end["size"] = size
            attempt.end = end
        self._send_end(attempt)

    def _send_end(self, attempt: _Attempt) -> None:
        with attempt.lock:
            end, at = attempt.end, attempt.sent
            assert end is not None
            data = b""
            if not attempt.is_fetched and end["size"] - at <= SMALL:
                data = os.pread(attempt.file, end["size"] - at, at)
                attempt.sent = at + len(data)
        self._say(attempt, {"event": "end", "at": at, "data": data, **end})

    def _say(self, attempt: _Attempt, what: dict[str, Any]) -> None:
        what["token"] = attempt.task.token
        self._worker.loop.add_callback(self._post, attempt.topic, what)

    def _post(self, topic: str, what: dict[str, Any]) -> None:
        """Send this to a bridge, at once or with what follows very soon; in the loop."""
        if not self._outbox:
            wait = self._sent_at + _EVENTS_APART - time.monotonic()
            if wait > 0:
                self._worker.loop.call_later(wait, self._flush)
            else:
                self._worker.loop.add_callback(self._flush)
        self._outbox.setdefault(topic, []).append(what)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, {}
        self._sent_at = time.monotonic()
        stream = self._worker.batched_stream
        if stream is None or stream.comm is None or stream.comm.closed():
            self._unsent.append(outbox)
            return
        for topic, events in outbox.items():
            self._worker.log_event(topic, {"events": events})

    async def _send_unsent(self) -> None:
        """Send what was said when the scheduler had retired this worker already (distributed 2026.8), by a connection
        of its own."""
        self._flush()
        if not any(self._unsent):
            return
        with suppress(OSError, TimeoutError):
            address, security = self._worker.scheduler.address, self._worker.security
            async with Client(  # type: ignore[no-untyped-call]
                address, asynchronous=True, set_as_default=False, security=security, timeout=_LAST_CALL
            ) as client:
                for outbox in self._unsent:
                    for topic, events in outbox.items():
                        await client.log_event(topic, {"events": events})

    # --- while they run, in the loop

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            with self._lock:
                live = [attempt for attempt in self._attempts.values() if attempt.end is None]
            if live:
                self._keep_reaper()
            for attempt in live:
                if attempt.deadline is not None and attempt.deadline <= time.monotonic():
                    attempt.deadline = None
                    self._stop(attempt, "timeout", attempt.task.grace)
                with suppress(OSError):
                    self._send_output(attempt)

    def _send_output(self, attempt: _Attempt) -> None:
        with attempt.lock:
            at, size = attempt.sent, attempt.size
            if attempt.is_fetched or attempt.end is not None or size == at:
                return
            if size - at > SMALL:
                attempt.is_fetched = True
                what: dict[str, Any] = {"event": "more"}
            else:
                data = os.pread(attempt.file, size - at, at)
                attempt.sent = at + len(data)
                what = {"event": "output", "at": at, "data": data}
            self._say(attempt, what)

    def _stop(self, attempt: _Attempt, reason: str, grace: float) -> None:
        """Begin to end an attempt, even if it has not begun."""
        with attempt.lock:
            execution = attempt.execution
            if execution is None:
                attempt.ending = reason, grace
                return
        execution.stop(reason, grace)

    # --- what a bridge asks, in the loop

    async def answer(self, what: str, **about: Any) -> Any:
        """What a bridge has asked for; each method whose name begins with `on_` is such a question."""
        return getattr(self, f"on_{what}")(**about)

    def on_describe(self) -> dict[str, Any]:
        return self.describe()

    def on_read(self, token: str, at: int) -> dict[str, Any]:
        """Output from an offset on; once all has been read, the next is sent again as it comes."""
        attempt = self._attempts.get(token)
        if attempt is None:
            return {"is_known": False}
        with attempt.lock:
            data = os.pread(attempt.file, MOST, at)
            attempt.sent = at + len(data)
            is_all = attempt.sent >= attempt.size
            attempt.is_fetched = not is_all
            self._free(attempt)
        return {"is_known": True, "data": data, "is_all": is_all, "is_over": attempt.end is not None}

    def _free(self, attempt: _Attempt) -> None:
        """Give back the space of what has been fetched."""
        end = attempt.sent // _KEPT_HEAD * _KEPT_HEAD - MOST
        if end > _KEPT_HEAD:
            holes.punch(attempt.file, _KEPT_HEAD, end)

    def on_stop(self, token: str, reason: str, grace: float) -> str:
        """Begin to end an attempt. `never`: it has not been started here, and will not be; `over`: it has ended."""
        with self._lock:
            attempt = self._attempts.get(token)
            if attempt is None:
                self._refused.add(token)
                return "never"
        if attempt.end is not None:
            self._send_end(attempt)
            return "over"
        self._stop(attempt, reason, grace)
        return "ending"

    def on_take(self, topic: str, offsets: dict[str, int]) -> dict[str, bool]:
        """Send what is new of these attempts to that topic, from these offsets of their output on; whether each is
        known. One that is not will not be started."""
        known = {}
        self._topics.add(topic)
        for token, at in offsets.items():
            with self._lock:
                attempt = self._attempts.get(token)
                known[token] = attempt is not None
                if attempt is None:
                    self._refused.add(token)
                    continue
            with attempt.lock:
                attempt.topic, attempt.sent, attempt.is_fetched = topic, at, False
                is_over = attempt.end is not None
            if is_over:
                self._send_end(attempt)
        return known

    def on_list(self, spool: str) -> list[str]:
        """The attempts of that spool that are known here."""
        with self._lock:
            return [token for token, attempt in self._attempts.items() if attempt.task.spool == spool]

    def on_over(self) -> list[str]:
        """The attempts that have ended, and are still known here."""
        with self._lock:
            return [token for token, attempt in self._attempts.items() if attempt.end is not None]

    def on_forget(self, tokens: list[str]) -> bool:
        """Their jobs have been settled."""
        with self._lock:
            gone = [self._attempts.pop(token) for token in tokens if token in self._attempts]
            self._started.difference_update(tokens)
            self._refused.difference_update(tokens)
        for attempt in gone:
            os.close(attempt.file)
        return True


def _open_output(directory: str) -> int:
    """A file without a name: nothing of it is left when its last process has ended."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(directory, flags | os.O_TMPFILE, 0o600)
    except OSError:  # this file system has no such files
        name = tempfile.mktemp(prefix="queuectl-", dir=directory)  # made exclusively
        file = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(name)
        return file


def parse_usage(usage: list[float]) -> logs.Usage | None:
    """What an end event says of what an attempt used."""
    return logs.Usage(int(usage[0]), usage[1], usage[2]) if len(usage) == 3 else None
