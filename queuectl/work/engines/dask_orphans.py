"""Attempts on a Dask cluster whose bridge has died: what the next bridge does with each.

The log says where an attempt was sent, if it was; the processes that are there now say the rest. The table is in
docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

from queuectl.core import lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import RunningName, parse_time
from queuectl.core.result import LOST, State
from queuectl.spool.moves import claims
from queuectl.spool.moves.claims import Claim
from queuectl.spool.reading import query
from queuectl.spool.system import lease, logs, processes, sent
from queuectl.spool.upkeep import rescue
from queuectl.tuples import NamedTuple
from queuectl.work.context import Context
from queuectl.work.engines.engine import record_end
from queuectl.work.settle import finish, release


class Taken(NamedTuple):
    """An attempt that has this worker's name now. It was sent to `process`, and its output begins at `output_at`."""

    claim: Claim
    token: str
    process: str
    output_at: int


class Orphans:
    """Those of the engine that goes by these names, for one worker."""

    def __init__(self, context: Context, worker: str, on: Collection[str]) -> None:
        self._context = context
        self._layout = context.layout
        self._worker = worker
        self._on = on

    def find(self) -> list[RunningName]:
        return rescue.find_orphans(self._layout, lease.host_of(self._worker), self._worker, self._on)

    def find_disowned(self, tokens: Collection[str]) -> list[str]:
        """Those of these attempts whose jobs have left running/, whichever worker they were sent by."""
        running = {
            (name.started_at, name.id)
            for _ in range(2)  # one listing may miss a file that is being adopted
            for text in query.list_names(self._layout, State.RUNNING)
            if (name := RunningName.parse(text)) is not None
        }
        return [token for token in tokens if _claim_of(token) not in running]

    def look_into(self, name: RunningName, present: Collection[str]) -> Taken | bool:
        """One to take over, as the process that it was sent to is present; else it has been settled (True), or what
        became of it is not clear yet."""
        try:
            attempt, ended_at = logs.read_attempt(self._layout.log(name.id), name)
            where = sent.find(self._layout.log(name.id), name)
        except FileNotFoundError:
            where = attempt = ended_at = None
        except OSError:
            return False
        job = query.load(self._layout, State.RUNNING, str(name))
        body = job.body if job else None
        if attempt is not None and attempt.has_ended_itself and attempt.result is not None:
            seconds = max(0.0, ((ended_at or self._context.now()) - name.started_at).total_seconds())
            finish(self._context, name, body, attempt.result, seconds)
            return True
        if where is None or body is None:
            release(self._context, name, f"its worker {name.worker} died before it began")
            return True
        claim = self._adopt(name, body)
        if claim is None:
            return True
        if where.process not in present:
            self._settle_lost(claim, f"the Dask worker {where.address} is gone")
            return True
        return Taken(
            claim, processes.token_of(name, attempt.worker if attempt else name.worker), where.process, where.output_at
        )

    def _adopt(self, name: RunningName, body: Body) -> Claim | None:
        """Give it this worker's name; None if another has settled it."""
        move = lifecycle.adopt_running(name, self._worker)
        assert isinstance(move.name, RunningName)
        try:
            log = logs.open_existing(self._layout.log(name.id))
        except OSError:
            return None
        lease.lock_attempt(log, name.started_at)
        if not claims.settle(self._layout, name, move):
            lease.close(log)
            return None
        return Claim(move.name, name.started_at, body, log, 0)

    def _settle_lost(self, claim: Claim, why: str) -> None:
        with suppress(OSError):
            record_end(claim, 0, logs.format_outcome(LOST), why)
        lease.close(claim.log)
        seconds = max(0.0, (self._context.now() - claim.name.started_at).total_seconds())
        finish(self._context, claim.name, claim.body, LOST, seconds)


def _claim_of(token: str) -> tuple[datetime, str]:
    """When the attempt of a token was claimed, and its job."""
    _, at, id = token.split(":", 2)
    return parse_time(at), id
