"""What a benchmark yields: one row for each promise, judged by one figure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Bar:
    """What the figure of a row must reach, and what it should. `unit` is that of the figure:

    `x` times the floor, `ms more` than the floor, or an absolute unit.
    """

    limit: float
    goal: float
    unit: str = "x"
    at_least: bool = False

    def verdict(self, figure: float) -> str:
        for mark, text in ((self.goal, "goal"), (self.limit, "bar")):
            if figure >= mark if self.at_least else figure <= mark:
                return text
        return "MISS"

    def format(self, mark: float) -> str:
        return f"{'>=' if self.at_least else '<='} {mark:g} {self.unit}".replace(" x", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured promise.

    `value` and `floor` are medians in `unit`; `figure` is what counts (a ratio, a difference, or the value itself)
    in `figure_unit`. `cpu_us` and `floor_cpu_us` are user and system microseconds for a job, of the program and all
    that it ran. `foreign` is the share of the machine that other processes took: distrust more than 0.1.
    A row that could not be measured says why in `skipped`.
    """

    name: str
    what: str
    place: str = ""
    value: float | None = None
    unit: str = ""
    floor: float | None = None
    floor_what: str = ""
    figure: float | None = None
    figure_unit: str = "x"
    bar: Bar | None = None
    n: int = 0
    cpu_us: float | None = None
    floor_cpu_us: float | None = None
    foreign: float = 0.0
    details: dict[str, float] = field(default_factory=dict)
    samples: list[float] = field(default_factory=list)
    floor_samples: list[float] = field(default_factory=list)
    skipped: str = ""

    @property
    def verdict(self) -> str:
        if self.skipped:
            return "skip"
        return self.bar.verdict(self.figure) if self.bar and self.figure is not None else ""

    def to_json(self) -> dict[str, Any]:
        """Numbers with six significant digits: more would be noise."""
        plain = asdict(self)
        return {key: _rounded(value) for key, value in plain.items() if value not in (None, "", [], {})}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        bar = data.get("bar")
        return cls(**{**data, "bar": Bar(**bar) if bar else None})


def reason_of(error: Exception) -> str:
    """Why a row is skipped, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value
