"""The parameters of a job that is one of a sweep: what `--param` takes, and the variables that a job finds them in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from queuectl.errors import UsageError

MOST = 1_000_000
"""How many jobs one sweep may make."""
PREFIX = "QUEUECTL_PARAM_"

_RANGE = r"(-?)(\d{1,18})\.\.(-?)(\d{1,18})(?:\.\.(-?\d{1,18}))?"
_NUMBER = r"-?(?:\d+|\d*\.\d+)"
_RANGE_OF_DECIMALS = rf"{_NUMBER}\.\.{_NUMBER}(?:\.\.{_NUMBER})?"


def variable_of(name: str) -> str:
    """The variable of a job's environment that has the parameter: upper case, `_` for all but letters and digits."""
    return PREFIX + re.sub("[^A-Z0-9]", "_", name.upper())


def as_text(value: Any) -> str:
    """A parameter's value as it stands in the variable: a text as it is, anything else in JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check_names(names: Sequence[str], of: str) -> None:
    """Raise UsageError for a name that no place can have, and for two that share a variable or differ only in case.

    `of` says whose they are: `--param`, or a file.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name or re.search(r"[{}=\x00-\x1f\x7f]", name):
            what = f"a parameter of {of} has no name" if not name else f"{of}: not the name of a parameter: {name!r}"
            raise UsageError(what, "a name has no braces, no = and no control characters")
        variable = variable_of(name)
        other = seen.get(variable)
        if other is not None:
            what = f"the parameter {name} is there twice" if other == name else f"{other} and {name} are too much alike"
            why = "" if other == name else f"both would be {variable} in the job's environment"
            raise UsageError(what, why, "put all values of a parameter into one --param: NAME=a,b" if not why else "")
        seen[variable] = name


def parse(texts: Iterable[str]) -> dict[str, Sequence[str]]:
    """The values of each parameter, of texts such as `lr=0.1,0.01` and `seed=1..10`. Raises UsageError."""
    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise UsageError(f"--param {name}: it has no values", hint=f"try: --param {name}=a,b or {name}=1..10")
    names = [name.strip() for name, _, _ in pairs]
    check_names(names, "--param")
    values = ([each for part in text.split(",") for each in _values_of(part)] for _, _, text in pairs)
    return dict(zip(names, values, strict=True))


def count(params: Mapping[str, Sequence[str]]) -> int:
    """How many combinations there are; raises UsageError for more than one sweep may have."""
    number = 1
    for values in params.values():
        number *= len(values)
    if number > MOST:
        raise UsageError(f"these parameters make {number} jobs", f"one sweep has {MOST} at most")
    return number


def _values_of(text: str) -> Iterable[str]:
    """The numbers of a range `1..10` or `0..100..10`, both ends included, or the text itself.

    If an end has leading zeros, all have as many digits.
    """
    match = re.fullmatch(_RANGE, text, re.ASCII)
    if match is None:
        if re.fullmatch(_RANGE_OF_DECIMALS, text, re.ASCII):
            raise UsageError(f"not a range: {text}", "a range has whole numbers", "write the values: 0.1,0.2,0.3")
        return (text,)
    first_sign, first, last_sign, last, step_text = match.groups()
    begin, end = int(first_sign + first), int(last_sign + last)
    step = abs(int(step_text or 1)) * (1 if end >= begin else -1)
    if not step:
        raise UsageError(f"not a range: {text}", "its step is 0")
    numbers = range(begin, end + (1 if step > 0 else -1), step)
    if len(numbers) > MOST:
        raise UsageError(f"the range {text} has {len(numbers)} values", f"one sweep has {MOST} jobs at most")
    is_padded = any(len(digits) > 1 and digits[0] == "0" for digits in (first, last))
    digits = max(len(first), len(last)) if is_padded else 1
    return [f"{'-' if number < 0 else ''}{abs(number):0{digits}}" for number in numbers]
