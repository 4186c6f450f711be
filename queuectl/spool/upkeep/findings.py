"""What `fsck` finds in a spool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

STALE = 3600.0
"""Age in seconds at which a file counts as left behind."""


class Weight(StrEnum):
    """How bad a finding is."""

    NOTE = "note"  # goes away by itself, or is harmless
    PROBLEM = "problem"  # an invariant does not hold


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: where, what, and what to do. `repair` repairs it, if that is safe."""

    weight: Weight
    path: str
    what: str
    remedy: str
    repair: Callable[[], bool] | None = None

    def to_json(self) -> dict[str, str | bool]:
        return {
            "weight": str(self.weight),
            "path": self.path,
            "what": self.what,
            "remedy": self.remedy,
            "repairable": self.repair is not None,
        }
