"""Settings that cannot be, told in a line; and how a command goes on that can do without them."""

from __future__ import annotations

from queuectl import config
from queuectl.cli.context import note
from queuectl.errors import ConfigError
from queuectl.spool.system.layout import Layout

NO_WORKER = "no worker starts until it is mended"
"""What follows from a setting that cannot be."""


def load_anyway(layout: Layout) -> config.Settings:
    """The settings in force, with the default for each that cannot be; a warning tells of those."""
    found = config.examine(layout)
    for error in found.wrong:
        note(f"warning: {describe(error)}; going on without it")
    return found.settings


def describe(error: ConfigError) -> str:
    """What is wrong and where, in one line."""
    return " ".join(f"{error.what} ({error.why})".split())
