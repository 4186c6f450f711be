"""One-line messages for invalid settings, and the fallback for commands that can run without them."""

from __future__ import annotations

from queuectl import config
from queuectl.cli.context import note
from queuectl.errors import ConfigError
from queuectl.spool.system.layout import Layout

NO_WORKER = "workers will not start until this is fixed"
"""The consequence of an invalid setting."""


def load_anyway(layout: Layout) -> config.Settings:
    """The settings in force, with the default in place of each invalid one, after a warning about it."""
    found = config.examine(layout)
    for error in found.wrong:
        note(f"warning: {describe(error)}; using the default")
    return found.settings


def describe(error: ConfigError) -> str:
    """What is wrong and where, in one line."""
    return " ".join(f"{error.what} ({error.why})".split())
