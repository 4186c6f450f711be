"""What an engine says of jobs that are not claimed yet, if it cannot take any job at any time."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from queuectl.core.fields import Body


class Ask(NamedTuple):
    """What a job asks of an engine: so many slots of one machine, seconds until its timeout, if it has one, and so many
    of the cards of that machine."""

    slots: int
    timeout: float | None
    cards: int = 0


class Terms(Protocol):
    """Thread-safe."""

    own_seats: frozenset[str]
    """The groups whose seats are the engine's, whatever their files say."""

    def ask_of(self, id: str, body: Body) -> Ask:
        """What that job asks for."""

    def has_place_for(self, ask: Ask) -> bool:
        """Whether it would start now."""

    def why_never(self, ask: Ask) -> str:
        """Why it cannot, however long it waits, as `worker start --drain` says it of what is left; empty if it can."""
