"""Texts that are not UTF-8: bytes -> a body in JSON -> the same bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import body, charset

pieces = st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"")) | st.sampled_from([b"\xe9", "é".encode()])


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


names = pieces.filter(lambda name: bool(name) and b"=" not in name)


@given(st.lists(pieces, min_size=1), pieces, st.dictionaries(names, pieces))
def test_bytes_are_the_same_after_a_body(words: list[bytes], cwd: bytes, env: dict[bytes, bytes]) -> None:
    """Any bytes become a body that is valid UTF-8 without surrogates, from which the same bytes are read."""
    whole = charset.to_body({"command": [b"x", *words], "cwd": b"/" + cwd, "env": env})
    data = json.dumps(whole, ensure_ascii=False).encode()
    found = body.parse(data)
    assert [*map(encoded, found.command)] == [b"x", *words]
    assert encoded(found.cwd or "") == b"/" + cwd
    assert {encoded(name): encoded(text) for name, text in found.env.items()} == env


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"command": "é"}, {"command": "é"}),
        ({"command": "é".encode()}, {"command": "é"}),
        ({"command": [b"a", "é", Path("/x")]}, {"command": ["a", "é", "/x"]}),
        ({"command": b"\xe9"}, {"command": "\xe9", "charset": "latin-1"}),
        ({"command": os.fsdecode(b"\xe9"), "priority": 1}, {"command": "\xe9", "priority": 1, "charset": "latin-1"}),
        ({"command": "é", "cwd": b"/\xe9"}, {"command": "Ã©", "cwd": "/é", "charset": "latin-1"}),
        ({"command": "é", "charset": "latin-1"}, {"command": "é", "charset": "latin-1"}),
        ({"command": "é", "cwd": "é".encode(), "charset": "latin-1"},
         {"command": "é", "cwd": "Ã©", "charset": "latin-1"}),
        ({"command": "\ud800"}, {"command": "\ud800"}),
        ({"command": 5, "env": 5}, {"command": 5, "env": 5}),
    ],
)  # fmt: skip
def test_body_of_bytes(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """A body is in UTF-8 if all of its texts are; else each character is a byte. What is wrong is left as it is."""
    assert charset.to_body(given) == expected


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"command": "é", "mine": 1}, {"cwd": "/é", "charset": "latin-1"},
         {"command": "Ã©", "cwd": "/é", "mine": 1, "charset": "latin-1"}),
        ({"command": "é", "cwd": "/é", "charset": "latin-1"}, {"command": "é"},
         {"command": "Ã©", "cwd": "/é", "charset": "latin-1"}),
        ({"command": "é", "charset": "latin-1"}, {"command": "é"}, {"command": "é"}),
        ({"command": "Ã©", "env": {"Ã©": "é"}, "charset": "latin-1"}, {"env": {"é": None}},
         {"command": "é", "env": {"é": None}}),
        ({"command": "é", "charset": "latin-1"}, {"priority": 1},
         {"command": "é", "charset": "latin-1", "priority": 1}),
    ],
)  # fmt: skip
def test_merged_bodies_of_two_charsets(below: dict[str, Any], above: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each text keeps its bytes, and the result is in UTF-8 again where it can be."""
    assert body.merge(below, above) == expected


def test_text_that_only_looks_like_an_escape() -> None:
    """Without the field, no text stands for other bytes than its own."""
    assert body.validate({"command": "caf\\xe9 \\udce9 Ã©"}).command == "caf\\xe9 \\udce9 Ã©"


def test_size_is_counted_in_bytes() -> None:
    """A text of the longest size may consist of bytes that are not UTF-8."""
    assert body.validate({"command": "\xe9" * 120_000, "charset": "latin-1"}).command == "\udce9" * 120_000
