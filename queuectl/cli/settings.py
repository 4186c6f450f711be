"""A one-line warning about each invalid setting, for commands that can run without it."""

from __future__ import annotations

from queuectl.cli.context import note
from queuectl.spool.store import Spool

NO_WORKER = "workers will not start until this is fixed"
"""The consequence of an invalid setting."""


def warn_of_settings(spool: Spool) -> None:
    """Warn about invalid settings; their defaults are used."""
    from queuectl.spool.system.settings import describe

    for error in spool.examine_settings().wrong:
        note(f"warning: {describe(error)}; using the default")
