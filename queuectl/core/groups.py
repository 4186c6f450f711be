"""Groups: a job belongs to every prefix of its id that ends before a dot. `gpu.train.7` is in `gpu` and `gpu.train`.

Nothing else is stored, so a group can be listed, counted and filtered by names alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from queuectl.core.names import is_valid_id
from queuectl.errors import UsageError
from queuectl.tuples import NamedTuple

_ENOUGH = 5  # jobs that have ended, before a share of them says anything
MAX_LENGTH = 87
"""Characters of a group's name: with a dot and 12 random characters it is still an id."""


def of(id: str) -> tuple[str, ...]:
    """The groups of an id, the outermost and shortest first."""
    if "." not in id:
        return ()
    dots = (match.start() for match in re.finditer(r"\.", id))
    return tuple(id[:dot] for dot in dots if id[dot - 1] != ".")


def chain(group: str) -> tuple[str, ...]:
    """The groups that a job of `group` belongs to for certain: those around it, and itself."""
    return (*of(group), group)


def find_slip(group: str, there: Collection[str]) -> tuple[str, str] | None:
    """Of a group and those around it one that is not there, with the nearly equal one that is; None if all is well."""
    if group in there:
        return None
    pairs = ((name, other) for name in chain(group) if name not in there for other in there if _is_near(name, other))
    return next(pairs, None)


def _is_near(name: str, other: str) -> bool:
    """Whether one slip makes `other` of a name: case, a dash, two letters in the wrong order, one more or less, or
    another one in a long name. What differs in a digit is meant: `gpu1`, `gpu2`.
    """
    if re.sub("[-_.]", "", name.casefold()) == re.sub("[-_.]", "", other.casefold()):
        return True
    begin = _shared(name, other)
    end = _shared(name[begin:][::-1], other[begin:][::-1])
    rests = name[begin : len(name) - end], other[begin : len(other) - end]
    if min(len(name), len(other)) < 3 or not "".join(rests).isalpha():
        return False
    sizes = sorted(map(len, rests))
    return sizes == [0, 1] or (sizes == [1, 1] and len(name) > 4) or (sizes == [2, 2] and rests[0] == rests[1][::-1])


def _shared(one: str, other: str) -> int:
    """With how many characters both begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def is_in(id: str, group: str) -> bool:
    """Whether that job belongs to the group."""
    return id.startswith(group) and id[len(group) : len(group) + 1] == "."


def is_name(text: str) -> bool:
    """Whether a group can have that name."""
    return len(text) <= MAX_LENGTH and is_valid_id(text) and not text.endswith(".") and ".." not in text


def require_name(text: str) -> str:
    """The name of a group, as it is; raises UsageError for what cannot be one."""
    if not is_valid_id(text):
        why = "a name has up to 87 letters, digits, dots, dashes and underscores, and begins with a letter or digit"
        raise UsageError(f"not a name of a group: {text!r}", why)
    if len(text) > MAX_LENGTH:
        raise UsageError(f"the name of the group {text[:20]}… is too long", f"{len(text)} characters, not {MAX_LENGTH}")
    if text.endswith(".") or ".." in text:
        hint = f"the group is {text.rstrip('.')}" if ".." not in text else ""
        raise UsageError(f"not a name of a group: {text!r}", "a name ends in no dot and has no two in a row", hint)
    return text


def is_new_id(id: str) -> bool:
    """Whether an id that is valid may be a new job's: with a dot at its end, or two in a row, nobody could name its
    groups."""
    return not id.endswith(".") and ".." not in id


def join(group: str, id: str) -> str:
    """The id of a job of the group: `gpu` and `train` give `gpu.train`, as do `gpu` and `gpu.train`."""
    return id if is_in(id, group) else f"{group}.{id}"


class Choice(NamedTuple):
    """Which jobs a worker takes: those of the groups `only`, or all if that is empty, but none of `others`."""

    only: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of_worker(cls, info: Mapping[str, Any]) -> Choice:
        """What a worker says of itself in its file, which may be nonsense."""
        said = (info.get(key) for key in ("groups", "not_groups"))
        return cls(*(tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
                     for names in said))  # fmt: skip

    @property
    def is_limited(self) -> bool:
        return bool(self.only or self.others)

    def takes(self, id: str) -> bool:
        """Whether a worker that chooses so takes that job."""
        mine = not self.only or any(is_in(id, group) for group in self.only)
        return mine and not any(is_in(id, group) for group in self.others)

    def __str__(self) -> str:
        """As a person reads it; empty if all jobs are taken."""
        but = f"{'but' if self.only else 'all but'} {' '.join(self.others)}" if self.others else ""
        return " ".join(filter(None, (*self.only, but)))


ALL = Choice()


def choose(only: tuple[str, ...], others: tuple[str, ...]) -> Choice:
    """The choice of these groups; raises UsageError for a wrong name, and if no job could ever be taken."""
    only, others = (tuple(require_name(name.removesuffix(".")) for name in names) for names in (only, others))
    within = [name for name in only if name in others or any(is_in(name, other) for other in others)]
    if within and len(within) == len(only):
        raise UsageError(f"a worker for the group {within[0]} that takes no job of it", hint="leave out --not-group")
    return Choice(tuple(dict.fromkeys(only)), tuple(dict.fromkeys(others)))


class MaxFailed(str):
    """How many failures are too many, as text: a number, or a share of the jobs that have ended, once five have."""

    @property
    def is_share(self) -> bool:
        return self.endswith("%")

    def is_reached(self, failed: int, ended: int) -> bool:
        """Whether so many of so many are too many."""
        if self.is_share:
            return ended >= _ENOUGH and failed >= float(self[:-1]) / 100 * ended
        return failed >= int(self)


def parse_max_failed(text: str) -> MaxFailed:
    """A number from 1, or a share such as 5%. Raises ValueError with what is wrong."""
    match = re.fullmatch(r"(\d{1,6})|(\d{1,2}(?:\.\d+)?|100)\s*%", text.strip(), re.ASCII)
    if match is None or not float(match[1] or match[2]):
        what = f"is neither a number from 1 nor a share such as 5%: {text.strip()[:40]!r}"
        raise ValueError(what if text.strip() else "is empty")
    return MaxFailed(f"{int(match[1])}" if match[1] else f"{float(match[2]):g}%")


def parse_limit(text: str) -> int:
    """Raises ValueError with what is wrong."""
    if not re.fullmatch(r"\d{1,6}", text.strip(), re.ASCII):
        raise ValueError("is empty" if not text.strip() else f"is not a whole number: {text.strip()[:40]!r}")
    return int(text)
