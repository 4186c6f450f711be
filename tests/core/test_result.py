"""How an attempt can end, as a word in a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.result import CANCELLED, INVALID, LOST, SKIPPED, SUCCESS, TIMEOUT, Result, State

EVERY = (
    *(Result.exit(n) for n in range(256)),
    *(Result.signal(n) for n in range(1, 100)),
    TIMEOUT,
    LOST,
    CANCELLED,
    INVALID,
    SKIPPED,
)


def test_results_round_trip() -> None:
    """Each of the ways to end has a word of its own, and the word is read back as it."""
    words = [str(result) for result in EVERY]
    assert len(set(words)) == len(EVERY)
    assert [Result.parse(word) for word in words] == list(EVERY)


@pytest.mark.parametrize(
    ("word", "result"),
    [("exit0", SUCCESS), ("exit127", Result("exit", 127)), ("signal9", Result("signal", 9)), ("timeout", TIMEOUT),
     ("lost", LOST), ("cancelled", CANCELLED), ("invalid", INVALID), ("skipped", SKIPPED)],
)  # fmt: skip
def test_words(word: str, result: Result) -> None:
    """The words are those of the design."""
    assert Result.parse(word) == result
    assert str(result) == word


@pytest.mark.parametrize(
    "word",
    ["", "exit", "exit256", "exit00", "exit01", "exit-1", "exit1000", "signal", "signal0", "signal100", "timeout1",
     "lost0", "Exit0", " exit0", "exit0\n", "exit٣", "done", "released"],
)  # fmt: skip
def test_results_that_are_refused(word: str) -> None:
    """Any other word is a ValueError."""
    with pytest.raises(ValueError, match="not a result"):
        Result.parse(word)


@given(st.text())
def test_text_that_parses_is_canonical(text: str) -> None:
    """What parses is written just so."""
    try:
        found = Result.parse(text)
    except ValueError:
        return
    assert str(found) == text


def test_success_is_exit_0_alone() -> None:
    """Every other end is a failure, cancelled ones too."""
    assert [result for result in EVERY if result.is_success] == [SUCCESS]


def test_states_are_the_directories() -> None:
    """A state's text is the name of its directory."""
    assert [f"{state}" for state in State] == ["pending", "running", "done", "dead"]
