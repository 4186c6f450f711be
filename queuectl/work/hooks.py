"""Notifying others of what became of jobs: executables in the spool's hooks/, and a webhook.

Best effort. A hook is called after the job has been settled, from threads of its own; whatever it does, the queue
continues. It has so many seconds, so many may wait, and what does not fit is dropped; the report says so. A crash of
the worker forgets those that wait.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from queuectl.core.job import Job
from queuectl.core.names import Name, format_rfc3339
from queuectl.core.result import State
from queuectl.core.settings import HOOK_EVENTS
from queuectl.core.text import format_count
from queuectl.spool.reading import query
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    import subprocess
    from datetime import datetime

    from queuectl.core.settings import Settings
    from queuectl.spool.store import Spool
    from queuectl.work.report import Report

_MOST_WAITING = 1000
_MOST_OUTPUT = 2000


class Context(Protocol):
    """What hooks need of the worker whose events they are."""

    spool: Spool
    report: Report
    settings: Settings

    def now(self) -> datetime: ...


class _News(NamedTuple):
    """Something that happened: `facts` are those of the worker's report."""

    event: str
    at: str | None
    state: State | None
    name: Name | None
    facts: dict[str, Any]


class Hooks:
    """`notify` costs one look-up in a set if an event has no hook. Thread-safe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._layout = context.spool.layout
        self._scripts = _Lane("hook", self._run_script, context)
        self._webhook = _Lane("webhook", self._call, context)
        self._starting = threading.Lock()  # RACE: a hook that starts while all are ended (tests/work/test_hooks.py)
        self._is_over = False
        self._process: subprocess.Popen[bytes] | None = None
        self._with_script: frozenset[str] = frozenset()
        self._with_webhook: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """See which hooks there are now."""
        found = {event for event in HOOK_EVENTS if os.access(self._layout.hook(event), os.X_OK)}
        self._with_script = frozenset(event for event in found if os.path.isfile(self._layout.hook(event)))
        settings = self._context.settings
        self._with_webhook = frozenset(settings.notify_on) if settings.notify_url else frozenset()

    def is_wanted(self, event: str) -> bool:
        return event in self._with_script or event in self._with_webhook

    def notify(self, event: str, state: State | None = None, name: Name | None = None, **facts: Any) -> None:
        """Something has happened; `state` and `name` are where the job is now."""
        if event not in self._with_script and event not in self._with_webhook:
            return
        news = _News(event, format_rfc3339(self._context.now()), state, name, facts)
        if event in self._with_script:
            self._scripts.put(news)
        if event in self._with_webhook:
            self._webhook.put(news)

    def finish(self) -> None:
        """Wait for the calls under way and those that wait, for at most as long as one hook may take."""
        deadline = time.monotonic() + self._context.settings.hook_timeout
        for lane in (self._scripts, self._webhook):
            lane.finish(deadline)
        with self._starting:
            self._is_over = True
            process = self._process
        if process is not None:
            _end(process)

    def _message(self, news: _News) -> bytes:
        """One JSON object, documented in docs/JSON.md."""
        job = None
        if news.state is not None and news.name is not None:
            job = query.load(self._layout, news.state, str(news.name)) or Job(
                news.state, news.name, self._layout.job(news.state, news.name)
            )
        message = {
            "event": news.event,
            "at": news.at,
            "spool": self._layout.root,
            "worker": self._context.report.worker,
            "attempt": news.facts.get("attempt"),
            "result": news.facts.get("result"),
            "duration": news.facts.get("duration"),
            "group": news.facts.get("group"),
            "reason": news.facts.get("reason"),
            "job": job.to_json() if job else None,
            "log": self._layout.log(job.id) if job else None,
        }
        return json.dumps(message).encode() + b"\n"

    def _run_script(self, news: _News) -> None:
        """Run one hook; its output is in the report if it fails."""
        import subprocess  # only where there are hooks

        seconds = self._context.settings.hook_timeout
        path = self._layout.hook(news.event)
        stdin = os.memfd_create("queuectl-hook")
        try:
            os.write(stdin, self._message(news))
            os.lseek(stdin, 0, os.SEEK_SET)
            with self._starting:
                if self._is_over:
                    return
                self._process = process = subprocess.Popen(
                    [path],
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    cwd=self._layout.root,
                    env={**os.environ, "QUEUECTL_SPOOL": self._layout.root, "QUEUECTL_EVENT": news.event},
                    start_new_session=True,
                )
        finally:
            os.close(stdin)
        output, code = _await(process, time.monotonic() + seconds)
        self._process = None
        if code is None:
            raise _HookError(f"took more than {seconds:g} s and was ended")
        if code:
            last = output.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
            raise _HookError(f"failed ({f'exit code {code}' if code > 0 else f'signal {-code}'}) {last[0]}".rstrip())

    def _call(self, news: _News) -> None:
        """Post the message to notify-url."""
        from urllib.request import HTTPRedirectHandler, Request, build_opener

        class NoRedirect(HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        settings = self._context.settings
        headers = {"Content-Type": "application/json", "User-Agent": "queuectl"}
        request = Request(settings.notify_url or "", self._message(news), headers)
        with build_opener(NoRedirect).open(request, timeout=settings.hook_timeout) as answer:
            answer.read(1024)


class _HookError(Exception):
    """A hook did not do its work."""


class _Lane:
    """One thing after another, in a thread that exists while there is something."""

    def __init__(self, kind: str, work: Callable[[_News], None], context: Context) -> None:
        self._kind = kind
        self._work = work
        self._context = context
        self._waiting: deque[_News] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, news: _News) -> None:
        report = self._context.report
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                report.once(
                    self._kind, "warning", f"{_MOST_WAITING} calls of a {self._kind} are waiting; dropping further ones"
                )
                return
            self._waiting.append(news)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._kind, daemon=True)
                self._thread.start()

    def finish(self, deadline: float) -> None:
        """Wait until nothing is left to do, or until then."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            text = f"dropped {format_count(left, 'call')} of a {self._kind}"
            self._context.report.event("warning", None, text)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                news = self._waiting.popleft()
            if len(self._waiting) < _MOST_WAITING // 2:
                self._context.report.over(self._kind, f"calls of a {self._kind} have caught up")
            id = news.name.id if news.name else None
            begun = time.monotonic()
            try:
                self._work(news)
                text, event = f"on-{news.event} took {time.monotonic() - begun:.3f} s", "hook"
            except Exception as error:  # a library's own, or whatever a hook brings about: it must not matter
                text, event = f"the {self._kind} on-{news.event} failed: {error}", "warning"
                if isinstance(error, _HookError):
                    text = f"the {self._kind} on-{news.event} {error}"
            self._context.report.event(event, id, text)


def _await(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, int | None]:
    """The end of what it printed, and its exit code; None if its time was up, and all of its group ended."""
    import subprocess

    assert process.stdout is not None
    kept = b""
    try:
        with selectors.DefaultSelector() as selector, process.stdout as pipe:
            selector.register(pipe, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    continue
                piece = os.read(pipe.fileno(), 65536)
                if not piece:
                    break
                kept = (kept + piece)[-_MOST_OUTPUT:]
        return kept, process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return kept, None
    finally:
        if process.returncode is None:
            _end(process)
            process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a hook that is not waited for yet, and its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
