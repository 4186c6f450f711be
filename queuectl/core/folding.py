"""Lines and commands that differ only in numbers, paths and the like, made equal: so that what failed alike is counted
together."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBER, PATH, ID = "N", "/…", "ID"
"""What stands for any number, any path, and the job's own id."""
LONGEST = 300
"""Characters of a text that count."""

_URL = re.compile(r"(?P<host>\b[a-z][a-z0-9+.-]{0,20}://[^\s/'\"<>]+)/[^\s'\"<>]*", re.IGNORECASE)
_FOLDED_URL = rf"\g<host>{PATH}"
_PATH = re.compile(r"(?<![\w/:])(?:~|\.{1,2}|[\w.@%+-]{1,80}(?=/[\w.@%+-]+/))?(?:/[\w.@%+=,~-]+)+/?")
_HEX = re.compile(
    r"\b(?:0x[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[0-9a-f]*\d)[0-9a-f]{8,})\b", re.IGNORECASE
)
_NUMBER = re.compile(r"\d+(?:[.,:T-]\d+)*", re.ASCII)


def unfold(folded: str, texts: Sequence[str]) -> str:
    """The folded text with those words as they are that all these texts, which it is of, share.

    >>> unfold("/…: N files in /…", ["/bin/tar: 3 files in /a", "/bin/tar: 5 files in /a"])
    '/bin/tar: N files in /a'
    """
    words = folded.split()
    originals = [text[:LONGEST].split() for text in texts]
    if not originals or any(len(each) != len(words) for each in originals):
        return folded
    columns = zip(words, zip(*originals, strict=True), strict=True)
    return " ".join(column[0] if len({*column}) == 1 else word for word, column in columns)


def fold(text: str, id: str = "") -> str:
    """The text with `N` for its numbers, `/…` for its paths and `ID` for the job's id; cut after LONGEST characters.

    >>> fold("No such file: '/data/7.csv' at 12:04:31")
    "No such file: '/…' at N"
    """
    text = " ".join(text[:LONGEST].split())
    if len(id) > 3 and id in text:  # a shorter one is found in other words
        text = re.sub(rf"(?<![\w-]){re.escape(id)}(?![\w-])", ID, text)
    text = _URL.sub(_FOLDED_URL, text)
    text = _PATH.sub(PATH, text)
    text = _HEX.sub(NUMBER, text)
    return _NUMBER.sub(NUMBER, text)[:LONGEST]
