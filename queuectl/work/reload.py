"""The settings of a worker, read again when config.toml has changed."""

from __future__ import annotations

import os
from typing import Any

from queuectl.errors import ConfigError
from queuectl.spool.system import settings
from queuectl.work.context import Context


class Reload:
    """For the main thread only. `flags` are fields of Settings that override the spool's."""

    def __init__(self, context: Context, flags: dict[str, Any]) -> None:
        self._context = context
        self._layout = context.spool.layout
        self._flags = flags
        self._seen: object = None

    def reload(self) -> None:
        """Read config.toml if it is not the file that was read last; an invalid one changes nothing."""
        try:
            status = os.stat(self._layout.config)
            seen: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return
        self._seen = seen
        report = self._context.report
        try:
            self._context.settings = settings.load(self._layout, self._flags)
            self._context.hooks.refresh()
            report.over("config", "config.toml is valid again")
            for unknown in settings.examine(self._layout).unknown:
                report.event("warning", None, f"{unknown.what}; {unknown.hint}")
        except ConfigError as error:
            report.once("config", "warning", f"keeping the previous settings: {error}")
