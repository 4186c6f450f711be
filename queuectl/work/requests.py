"""What other hosts ask of this worker's jobs, in a shared spool: to be cancelled, or to get a signal."""

from __future__ import annotations

from contextlib import suppress

from queuectl.spool.moves import asked
from queuectl.spool.reading import query
from queuectl.spool.system import processes
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context


class Requests:
    """For the main thread only."""

    def __init__(self, context: Context, attempts: Attempts) -> None:
        self._context, self._attempts = context, attempts
        self._over: set[str] = set()  # requests whose jobs were not running at the last look

    def look(self) -> None:
        """Carry out what is asked of this worker's attempts, and remove what is asked of jobs that are over."""
        layout = self._context.layout
        try:
            found = asked.read(layout)
        except OSError:
            return
        if not found:
            return
        under_way = self._attempts.under_way()
        left = []
        for request in found:
            attempt = next((each for each in under_way if request.is_of(each.name)), None)
            if attempt is None:
                left.append(request)
            elif request.signal is None:
                attempt.stop("cancelled", self._context.settings.grace)
            else:
                from queuectl.spool.moves import by_hand  # rarely needed

                processes.send(*by_hand.processes_of(layout, attempt.name), request.signal)
                asked.done(request)
        running = query.running(layout) if left else ()
        over = {each.path: each for each in left if not any(each.is_of(name) for name in running)}
        for path in over.keys() & self._over:  # one listing may miss a job that is being adopted
            with suppress(OSError):
                asked.done(over[path])
        self._over = {*over}
