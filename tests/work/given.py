"""What the tests of a worker's parts begin with."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from queuectl import Spool
from queuectl.core.fields import Body
from queuectl.core.result import State
from queuectl.spool.moves import claims
from queuectl.spool.system import clock, lease, logs, settings
from queuectl.work.context import Context
from queuectl.work.report import Report
from tests.spool.given import put, running_name

OWN = "host.1.aaaa"
"""The name of a worker."""


class Reported:
    """A context of a worker, and what was reported in it."""

    def __init__(self, spool: Spool) -> None:
        self._stream = StringIO()
        self.context = Context(spool, Report("json", self._stream), settings.load(spool.layout))

    def events(self, event: str = "") -> list[dict[str, Any]]:
        """All, or those of that kind."""
        found = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [each for each in found if event in ("", each["event"])]


def claim_of(spool: Spool, command: str = "true", id: str = "x", **fields: Any) -> claims.Claim:
    """A running job of the worker OWN, whose attempt is locked; its command has not started."""
    name = running_name(id, worker=OWN)._replace(started_at=clock.now())
    put(spool.layout, name, command, State.RUNNING, **fields)
    log = logs.open_log(spool.layout.log(id))
    assert lease.lock_attempt(log, name.started_at)
    return claims.Claim(name, name.started_at, Body(command, **fields), log, 0)
