"""Seats: the things of one host of which each job needs some for itself, such as the cards of `groups/gpu/seats`.

A seat has a name, which may occur several times in the list of a group: `0,0,1,1` lets two jobs share each card.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from queuectl.core import groups
from queuectl.errors import UsageError

MAX_SEATS = 1000
"""The most seats that a group can have."""
MAX_TAKEN = 64
"""The most seats that one job can have in all: each is a descriptor that its processes inherit."""
PREFIX = "QUEUECTL_SEAT_"
"""Begins the variables that name a job's seats to it."""
_NAME = r"[A-Za-z0-9_.:-]{1,100}"

MOST_ASIDE = 1000
"""Jobs with seats or slots of their own that a worker keeps in mind; what is behind so many waits too."""


class Seats(tuple[str, ...]):
    """The names of a group's seats, in the order in which they are taken."""

    __slots__ = ()

    def __str__(self) -> str:
        """As `parse` reads it."""
        if self == tuple(map(str, range(len(self)))):
            return str(len(self))
        return ",".join(self) + ("," if len(self) == 1 else "")

    @property
    def locks(self) -> list[str]:
        """The name of each seat's lock, `NAME+K` for the K-th of that name; all the first ones come first."""
        seen: Counter[str] = Counter()
        found = []
        for place, name in enumerate(self):
            found.append((seen[name], place, f"{name}+{seen[name]}"))
            seen[name] += 1
        return [lock for _, _, lock in sorted(found)]

    def count_free(self, held: Collection[str]) -> int:
        """How many can be had while these locks are held. All of them count, also those that are not in the list any
        more."""
        return max(0, min(len(self) - len(held), sum(lock not in held for lock in self.locks)))


class OwnSeats(Seats):
    """Those of one worker, whatever the files of the group say. Others on its host may have other things of the group,
    which do not count here; one that both name is one thing."""

    __slots__ = ()

    def count_free(self, held: Collection[str]) -> int:
        """How many can be had while these locks are held."""
        return sum(lock not in held for lock in self.locks)


def parse_own(texts: Iterable[str]) -> dict[str, Seats]:
    """Seats by group, of `gpu=0,1` and the like. Raises UsageError."""
    found: dict[str, Seats] = {}
    for text in texts:
        group, equals, names = text.partition("=")
        if not equals:
            raise UsageError(f"not the seats of a worker: {text!r}", "they are GROUP=NAMES", "try: gpu=0,1")
        if groups.require_name(group) in found:
            raise UsageError(f"seats of {group} twice", hint=f"try: {group}={found[group]},{names}")
        try:
            found[group] = OwnSeats(parse(names))
        except ValueError as error:
            raise UsageError(
                f"the seats of {group}: {error}", hint=f"try: {group}=0,1, or {group}=0, for one"
            ) from None
    return found


def parse(text: str) -> Seats:
    """A number (`4` is `0,1,2,3`) or names with a comma (`5,` is one). Raises ValueError with what is wrong."""
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    if re.fullmatch(r"\d{1,6}", text, re.ASCII):
        if not 1 <= int(text) <= MAX_SEATS:
            raise ValueError(f"must be from 1 to {MAX_SEATS}, not {text}")
        return Seats(map(str, range(int(text))))
    names = [name.strip() for name in text.removesuffix(",").split(",")]
    if "," not in text or not all(re.fullmatch(_NAME, name, re.ASCII) for name in names):
        raise ValueError(f"is neither a number nor names with a comma: {text[:40]!r}")
    if len(names) > MAX_SEATS:
        raise ValueError(f"has {len(names)} seats, not {MAX_SEATS}")
    return Seats(names)


def parse_variable(text: str) -> str:
    """The name of an environment variable. Raises ValueError with what is wrong."""
    text = text.strip()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", text, re.ASCII):
        raise ValueError(f"is not the name of a variable: {text[:40]!r}" if text else "is empty")
    return text


def name_of(lock: str) -> str:
    """The seat of a lock."""
    return lock.rpartition("+")[0]


def show(locks: Iterable[str]) -> str:
    """The names of seats as a job's variables have them: each once."""
    return ",".join(dict.fromkeys(map(name_of, locks)))


def variable_of(group: str) -> str:
    """The variable that names a job's seats of a group."""
    return f"{PREFIX}{re.sub('[^A-Z0-9]', '_', group.upper())}"


# --- the field of a job that says how many it takes of which group


def check_numbers(problems: list[str], key: str, value: Any) -> Mapping[str, int]:
    """The value of the field; problems are added to those found so far."""
    if not isinstance(value, dict) or not all(
        groups.is_name(group) and isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MAX_TAKEN
        for group, number in value.items()
    ):
        problems.append(f'"{key}" must be an object of groups with how many seats of each, from 0 to {MAX_TAKEN}')
        return {}
    if sum(value.values()) > MAX_TAKEN:
        problems.append(f'"{key}" has {sum(value.values())} seats in all, more than {MAX_TAKEN}')
    return value


def parse_numbers(text: str) -> dict[str, int]:
    """`gpu=2`, or several with a comma. Raises UsageError."""
    found: dict[str, int] = {}
    for part in text.split(","):
        group, equals, number = (each.strip() for each in part.rpartition("="))
        if not equals or not number.isdecimal() or len(number) > 6:
            raise UsageError(f"not a number of seats: {part.strip()!r}", "it is GROUP=NUMBER", "try: gpu=2")
        if groups.require_name(group) in found:
            raise UsageError(f"seats of {group} twice", hint=f"try: {group}={number}")
        found[group] = int(number)
    return found


def show_numbers(numbers: Mapping[str, int]) -> str:
    """As `parse_numbers` reads it."""
    return ",".join(f"{group}={number}" for group, number in numbers.items())
