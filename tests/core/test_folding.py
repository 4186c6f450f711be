from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.folding import LONGEST, fold, unfold


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("KeyError: 'customer_812'", "KeyError: 'customer_N'"),
        ("No such file: '/data/in/7.csv'", "No such file: '/…'"),
        ("cannot open data/in/7.csv", "cannot open /…"),
        ("~/x and ./run.sh and ../a/b", "/… and /… and /…"),
        ("GET https://api.example.com/v1/items/7: 503", "GET https://api.example.com/… N"),
        ("at 2026-11-24T03:43:00.120Z pid 4711", "at NZ pid N"),
        ("segfault at 0x7ffe12 ip 00007f3a8b2c", "segfault at N ip N"),
        ("commit 550e8400-e29b-41d4-a716-446655440000", "commit N"),
        ("job nightly-7 and nightly-77", "job ID and nightly-N"),
        ("either/or, 3 / 4 passed", "either/or, N / N passed"),
        ("  much \t room  ", "much room"),
        ("", ""),
    ],
)
def test_fold_keeps_what_says_why(text: str, folded: str) -> None:
    """Numbers, paths and the job's id are folded, words are kept."""
    assert fold(text, "nightly-7") == folded


def test_unfold_keeps_the_words_that_all_share() -> None:
    """What differs stays folded; texts of which it is not are of no use."""
    texts = ("/bin/sh: 1: /usr/bin/pyhton3: not found (7)", "/bin/sh: 1: /usr/bin/pyhton3: not found (8)")
    assert unfold(fold(texts[0]), texts) == "/bin/sh: 1: /usr/bin/pyhton3: not found (N)"
    assert unfold(fold(texts[0]), texts[:1]) == texts[0]
    assert unfold("KeyError: N", ("another line of text",)) == "KeyError: N"
    assert unfold("KeyError: N", ()) == "KeyError: N"


def test_fold_of_a_short_id_leaves_words_alone() -> None:
    """An id of a letter is not searched for in the text."""
    assert fold("a bad day", "a") == "a bad day"


@given(st.text(max_size=2 * LONGEST), st.text(max_size=8))
def test_fold_takes_any_text(text: str, id: str) -> None:
    """Whatever a job has written, no number and no newline is left of it."""
    folded = fold(text, id)
    assert not any(char in "0123456789\n" for char in folded)
