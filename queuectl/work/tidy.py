"""Deleting jobs that the settings no longer keep, in a thread of its own and by one worker at a time."""

from __future__ import annotations

import errno
import threading
import time

from queuectl.core.result import State
from queuectl.core.settings import Rule
from queuectl.core.text import format_count, format_size
from queuectl.errors import SpoolError
from queuectl.spool.moves import prune
from queuectl.spool.system import beats, files, lease, progress
from queuectl.work.context import Context

_INTERVAL = 60.0
_TMP_INTERVAL = 3600.0
_SHARE = 50  # of the time, pruning takes a fiftieth at most


class Tidy:
    """For the main thread only; `tidy` returns at once."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._prune_at = self._clear_at = 0.0
        self._thread: threading.Thread | None = None

    @property
    def is_idle(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def tidy(self) -> None:
        """Prune if it is time to, in the background."""
        now = time.monotonic()
        if self._context.stopping or not self.is_idle:
            return
        rules = self._context.settings.keep_rules(self._context.now()) if now >= self._prune_at else {}
        must_clear = now >= self._clear_at
        if rules or must_clear:
            self._thread = threading.Thread(target=self._work, args=(rules, must_clear), name="prune", daemon=True)
            self._thread.start()

    def _work(self, rules: dict[State, Rule], must_clear: bool) -> None:
        """Never fails: what cannot be deleted now is tried again."""
        report, begun = self._context.report, time.monotonic()
        try:
            if must_clear:
                self._clear_at = begun + _TMP_INTERVAL
                prune.clear_tmp(self._context.spool.layout, self._context.now())
                for path in progress.find_left(self._context.spool.layout, self._context.now()):
                    files.remove(path)
                if self._context.layout.shared:
                    lease.clear_locks(self._context.layout)
                    beats.clear(self._context.layout, self._context.now().timestamp() - prune.STALE)
            if rules:
                self._prune(rules)
            report.over("prune", "old jobs can be deleted again")
        except (OSError, SpoolError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
                self._clear_at = begun  # jobs that end give descriptors back; the slots say that they are missing
            else:
                report.once("prune", "warning", f"old jobs cannot be deleted: {error}")
        took = time.monotonic() - begun
        self._prune_at = begun + max(_INTERVAL, _SHARE * took)

    def _prune(self, rules: dict[State, Rule]) -> None:
        layout = self._context.spool.layout
        with lease.sole_pruner(layout) as is_alone:
            for state, rule in rules.items() if is_alone else ():
                pruned = prune.prune(layout, state, rule)
                if pruned.jobs:
                    text = f"{format_count(pruned.jobs, f'{state} job')}, {format_size(pruned.size)}"
                    self._context.report.event("pruned", None, text)
