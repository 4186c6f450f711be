"""Lists of seats: how they are written, which locks they have, and how many of them are free."""

from __future__ import annotations

import pytest

from queuectl.core import seats
from queuectl.errors import UsageError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("4", ("0", "1", "2", "3")), ("5,", ("5",)), ("4,5,6", ("4", "5", "6")), ("0,0,1,1\n", ("0", "0", "1", "1")),
        ("0,", ("0",)), (" a:1.b_c-d , e ", ("a:1.b_c-d", "e")),
    ],
)  # fmt: skip
def test_parse_reads_a_number_or_names(text: str, names: tuple[str, ...]) -> None:
    """And what is shown reads the same again."""
    assert seats.parse(text) == names
    assert seats.parse(str(seats.parse(text))) == names


@pytest.mark.parametrize("text", ["", " ", "0", "-1", "1001", "a", "a,,b", ",", "a/b,", "é,", "1 2", "1.5", "٣"])
def test_parse_refuses_what_is_neither(text: str) -> None:
    """A group without seats is one with a limit of 0; a slash is no name of a file."""
    with pytest.raises(ValueError, match=r"^(is|must)"):
        seats.parse(text)


def test_locks_are_numbered_by_name_and_spread() -> None:
    """The K-th of a name, never its place in the list; two jobs that may share a card get different ones first."""
    assert seats.parse("1,0,1,0").locks == ["1+0", "0+0", "1+1", "0+1"]


def test_count_free_counts_all_that_are_held() -> None:
    """Also those that the list does not name any more."""
    three = seats.parse("3")
    assert three.count_free([]) == 3
    assert three.count_free(["1+0"]) == 2
    assert three.count_free(["1+0", "7+0"]) == 1
    assert three.count_free(["5+0", "6+0", "7+0", "8+0"]) == 0
    assert three.count_free(["0+0", "1+0", "2+0"]) == 0


def test_variable_of_a_group_is_in_upper_case() -> None:
    """What is neither letter nor digit becomes an underscore."""
    assert seats.variable_of("gpu.a-b") == "QUEUECTL_SEAT_GPU_A_B"
    assert seats.show(["1+0", "3+0", "1+1"]) == "1,3"


def test_parse_numbers_reads_what_it_shows() -> None:
    """Several with a comma; each group once."""
    assert seats.parse_numbers("gpu=2, mem.a=0") == {"gpu": 2, "mem.a": 0}
    assert seats.show_numbers({"gpu": 2, "mem.a": 0}) == "gpu=2,mem.a=0"
    for wrong in ("gpu", "gpu=", "=2", "gpu=two", "gpu=-1", "gpu=1,gpu=2", "gpu.=1", ""):
        with pytest.raises(UsageError):
            seats.parse_numbers(wrong)
