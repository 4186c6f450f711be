"""The values of `--param`, and the variables that a job finds its parameters in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import params
from queuectl.errors import UsageError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1,0.01", ["0.1", "0.01"]), ("a", ["a"]), ("", [""]), (",a,", ["", "a", ""]), ("1..4", ["1", "2", "3", "4"]),
        ("0..100..25", ["0", "25", "50", "75", "100"]), ("0..10..4", ["0", "4", "8"]), ("3..1", ["3", "2", "1"]),
        ("10..0..5", ["10", "5", "0"]), ("10..0..-5", ["10", "5", "0"]), ("-1..1", ["-1", "0", "1"]), ("7..7", ["7"]),
        ("08..11", ["08", "09", "10", "11"]), ("1..03", ["01", "02", "03"]), ("0..2", ["0", "1", "2"]),
        ("007,7", ["007", "7"]), ("v1..3", ["v1..3"]), ("1..3x", ["1..3x"]), ("../a..b", ["../a..b"]), ("..", [".."]),
        ("1..2,9", ["1", "2", "9"]), ("a=b", ["a=b"]), (" a ", [" a "]), ("1..2..3..4", ["1..2..3..4"]),
    ],
)  # fmt: skip
def test_values(text: str, values: list[str]) -> None:
    """Values have commas between them; a range, if it is a whole value, has both ends; leading zeros stay."""
    assert params.parse([f"x={text}"]) == {"x": values}


@given(first=st.integers(-50, 50), last=st.integers(-50, 50), step=st.integers(1, 30))
def test_range(first: int, last: int, step: int) -> None:
    """A range goes from its first end towards the last, which is the last value if a step meets it."""
    (values,) = params.parse([f"x={first}..{last}..{step}"]).values()
    numbers = [int(value) for value in values]
    assert numbers[0] == first
    assert {abs(b - a) for a, b in itertools.pairwise(numbers)} <= {step}
    assert 0 <= abs(last - numbers[-1]) < step
    assert all(min(first, last) <= number <= max(first, last) for number in numbers)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["x"], "it has no values"), (["x=1..9..0"], "its step is 0"), (["x=0.1..0.5"], "a range has whole numbers"),
        (["x=0..1..0.1"], "a range has whole numbers"), (["x=1..99999999"], "one sweep has 1000000 jobs at most"),
        (["=a"], "has no name"), (["a{b=1"], "not the name of a parameter"), (["x=1", "x=2"], "is there twice"),
        (["lr=1", "Lr=2"], "lr and Lr are too much alike"), (["a-b=1", "a_b=2"], "QUEUECTL_PARAM_A_B"),
    ],
)  # fmt: skip
def test_parameter_that_is_refused(texts: list[str], said: str) -> None:
    """What is no parameter, and two names that differ in case only or share a variable, are refused with the reason."""
    with pytest.raises(UsageError) as caught:
        params.parse(texts)
    assert said in str(caught.value)


def test_count() -> None:
    """A sweep of more jobs than one may have is refused before any is made."""
    assert params.count(params.parse(["a=1..1000", "b=1..1000"])) == 1_000_000
    with pytest.raises(UsageError, match="make 2000000 jobs"):
        params.count(params.parse(["a=1..1000", "b=1..1000", "c=x,y"]))


@pytest.mark.parametrize(
    ("name", "variable"),
    [("lr", "LR"), ("batch-size", "BATCH_SIZE"), ("a.b c", "A_B_C"), ("N", "N"), ("größe", "GR_SSE"), ("x2", "X2")],
)
def test_variable(name: str, variable: str) -> None:
    """A variable's name is the parameter's in upper case, with _ for all but letters and digits of ASCII."""
    assert params.variable_of(name) == f"QUEUECTL_PARAM_{variable}"
