from __future__ import annotations

from typing import Any

import pytest

from queuectl.core.replacing import replaced
from queuectl.errors import UsageError
from tests.spool.given import NOW


@pytest.mark.parametrize(
    ("body", "name", "find", "text", "changed"),
    [
        ({"command": "run /old/a"}, "command", "/old", "/new", {"command": "run /new/a"}),
        ({"command": ["run", "/old/a"]}, "command", "/old", "/new", {"command": ["run", "/new/a"]}),
        ({"command": "run"}, "command", "x", "y", None),
        ({"command": "run", "cwd": "/old"}, "cwd", "old", "new", {"command": "run", "cwd": "/new"}),
        ({"command": "run"}, "timeout", "", "2m", {"command": "run", "timeout": 120}),
        ({"command": "run", "timeout": 60}, "timeout", "", "", {"command": "run"}),
        ({"command": "run", "timeout": 60}, "timeout", "60", "90", {"command": "run", "timeout": 90}),
        ({"command": "x", "env": {"A": "x", "B": "y"}}, "env", "x", "z", {"command": "x", "env": {"A": "z", "B": "y"}}),
        ({"command": "run", "mine": 1}, "command", "run", "go", {"command": "go", "mine": 1}),
    ],
)  # fmt: skip
def test_replaced(body: dict[str, Any], name: str, find: str, text: str, changed: dict[str, Any] | None) -> None:
    """Text is replaced in that field alone, a whole field without a text to find; None if nothing changes."""
    assert replaced(body, name, find, text, NOW) == changed


@pytest.mark.parametrize(
    ("name", "find", "text"),
    [("id", "a", "b"), ("submitted_by", "a", "b"), ("env", "", "x"), ("timeout", "", "soon"), ("no", "", "")],
)
def test_replaced_refuses(name: str, find: str, text: str) -> None:
    """What cannot be changed, and what is not a value of the field, is a UsageError."""
    with pytest.raises(UsageError):
        replaced({"command": "run"}, name, find, text, NOW)
