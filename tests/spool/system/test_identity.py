"""Random text in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.spool.system import identity

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@given(st.text(ALPHABET, min_size=12, max_size=12))
def test_random_text_comes_behind_another(text: str) -> None:
    """As long as two thirds of it can be random; and it is such a text itself."""
    found = identity.random_text_after(text)
    assert len(found) == len(text)
    assert found.strip(ALPHABET) == ""
    assert found > text or text.startswith("zzzz")


@pytest.mark.parametrize("text", ["job-1", "gpu.train.7", "UPPER", "0189"])
def test_other_text_has_no_part_in_it(text: str) -> None:
    """What follows a name of the user's is just random."""
    assert identity.random_text_after(text).strip(ALPHABET) == ""
