"""The warning about settings that cannot be, of commands that can do without them."""

from __future__ import annotations

from queuectl.cli.context import note
from queuectl.spool.store import Spool

NO_WORKER = "no worker starts until it is mended"
"""What follows from a setting that cannot be."""


def warn_of_settings(spool: Spool) -> None:
    """Say which settings cannot be; the default stands in for each."""
    from queuectl.spool.system.settings import describe

    for error in spool.examine_settings().wrong:
        note(f"warning: {describe(error)}; going on without it")
