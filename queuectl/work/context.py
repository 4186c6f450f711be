"""What the parts of one worker share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import datetime

from queuectl.core.settings import Settings
from queuectl.spool.store import Spool
from queuectl.spool.system import clock, defaults, trust
from queuectl.work.brake import Brake
from queuectl.work.hooks import Hooks
from queuectl.work.outbox import Outbox
from queuectl.work.report import Report


class Context:
    """The spool, the report, the settings and the clock of one worker, and whether it is stopping.

    `settings` is replaced when config.toml changes. `stopping` is 0 while the worker works, 1 while it lets running
    jobs finish, 2 while it ends them.
    """

    def __init__(
        self,
        spool: Spool,
        report: Report,
        settings: Settings,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self.spool = spool
        self.layout = spool.layout
        self.report = report
        self.settings = settings
        self.now = now
        self.rng = random.Random()
        self.stopping = 0
        self.own_uid = os.geteuid()
        self.outbox = Outbox()
        self.hooks = Hooks(self)
        self.brake = Brake(self)

    def settings_of(self, id: str) -> Settings:
        """The settings in force for a job: what its groups say goes first."""
        return defaults.applied(self.layout, id, self.settings)

    def trusts(self, uid: int) -> bool:
        """Whether that user's files in pending/ are run."""
        return uid == self.own_uid or trust.is_trusted(self.layout, uid)
