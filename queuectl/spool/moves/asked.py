"""What one host asks of another about a running job: to cancel it, or to send it a signal.

    asked/NAME             cancel it; NAME is the name that the job has in running/
    asked/NAME.signal15    send its processes a signal

No host but its own moves a running job, so that limits count what lives, and a job that is retried at once does not
meet its last attempt. The worker ends the attempt first, and settles it as cancelled then
(tests/model/hosts_replies.py). It looks here as often as it polls, and removes what is done. A job that was adopted
since is known by its id and the time of its claim; who takes one of a host that is gone settles it as asked.

CRASH: what is asked of a job that is over is removed by any worker (tests/hosts/test_cancel.py).
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress

from queuectl.core.job import Job
from queuectl.core.names import FinishedName, RunningName
from queuectl.core.result import CANCELLED, State
from queuectl.errors import NotFoundError, WaitTimeoutError, WrongStateError
from queuectl.spool.reading import query
from queuectl.spool.system import files, host, lease
from queuectl.spool.system.layout import Layout, unusable
from queuectl.spool.system.shared import MOST
from queuectl.tuples import NamedTuple

_SIGNAL = re.compile(r"\.signal(\d{1,2})")
_FIRST, _LATER = 0.1, 1.0  # seconds between two looks for the answer
_ANSWER = MOST + 5.0
"""Seconds, in addition to the grace, within which a worker that lives has answered."""


class Request(NamedTuple):
    """What is asked of a running job: to cancel it, or, with a `signal`, to send that."""

    name: RunningName
    signal: int | None
    path: str

    def is_of(self, name: RunningName) -> bool:
        """Whether it is that attempt, under whatever worker."""
        return (self.name.id, self.name.started_at) == (name.id, name.started_at)


def is_elsewhere(layout: Layout, name: RunningName) -> bool:
    """Whether a running job belongs to another host, so that it must be asked for."""
    return layout.shared and not host.here(layout).is_home_of(name.worker)


def read(layout: Layout) -> list[Request]:
    """All that is asked of jobs, by one listing."""
    found = []
    for text in os.listdir(layout.asked):
        match = _SIGNAL.search(text, len(text) - len(".signal00") if ".signal" in text else len(text))
        name = RunningName.parse(text[: match.start()] if match else text)
        if name is not None:
            found.append(Request(name, int(match[1]) if match else None, f"{layout.asked}/{text}"))
    return found


def is_to_cancel(layout: Layout, name: RunningName) -> bool:
    """Whether that attempt was asked to be cancelled."""
    with suppress(OSError):
        return any(request.signal is None and request.is_of(name) for request in read(layout))
    return False


def done(request: Request) -> None:
    """Remove what has been carried out."""
    files.remove(request.path)


def cancel(layout: Layout, job: Job, name: RunningName, grace: float) -> Job | None:
    """Have a running job of another host cancelled; None if it has left running/ in another way, to look again.

    Raises WaitTimeoutError if its worker has not answered in time, and WrongStateError if the job had ended by itself.
    """
    path = _write(layout, str(name))
    deadline = time.monotonic() + grace + _ANSWER
    pause = _FIRST
    while time.monotonic() < deadline:
        place = query.locate(layout, job.id)
        if place is None:
            files.remove(path)
            raise NotFoundError(f"job {job.id} is gone", "it was removed", id=job.id)
        state, text = place
        parsed = query.parse_name(state, text)
        if isinstance(parsed, FinishedName):
            files.remove(path)
            found = query.load(layout, state, text) or Job(state, parsed, layout.job(state, text))
            if parsed.result != CANCELLED:
                raise WrongStateError(f"job {job.id} has already ended", f"{state}, {parsed.result}")
            return found
        if state is not State.RUNNING or not isinstance(parsed, RunningName) or parsed.started_at != name.started_at:
            files.remove(path)
            return None
        time.sleep(pause)
        pause = min(_LATER, pause * 1.5)
    raise WaitTimeoutError(
        f"job {job.id} was asked to end, and {lease.host_of(name.worker)} has not answered",
        f"it ends as soon as its worker, {name.worker}, looks",
        "whether that lives: queuectl worker list",
    )


def kill(layout: Layout, job: Job, name: RunningName, number: int) -> Job:
    """Have a signal sent to a running job of another host. Raises WaitTimeoutError without an answer."""
    path = _write(layout, f"{name}.signal{number}")
    deadline, pause = time.monotonic() + _ANSWER, _FIRST
    while time.monotonic() < deadline:
        if os.path.basename(path) not in os.listdir(layout.asked):
            return job
        time.sleep(pause)
        pause = min(_LATER, pause * 1.5)
    files.remove(path)
    raise WaitTimeoutError(
        f"{lease.host_of(name.worker)} has not answered, so {job.id} has not got the signal",
        hint="whether its worker lives: queuectl worker list",
    )


def _write(layout: Layout, text: str) -> str:
    path = f"{layout.asked}/{text}"
    try:
        os.makedirs(layout.asked, 0o700, exist_ok=True)
        with suppress(FileExistsError):
            files.write_new(path, b"", sync=False)
    except OSError as error:
        raise unusable(layout.root, error) from error
    return path
