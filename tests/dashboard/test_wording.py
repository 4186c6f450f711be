from __future__ import annotations

import pytest

from queuectl import Spool, State
from queuectl.core.admission import Reason
from queuectl.dashboard import wording
from queuectl.spool.reading import query
from queuectl.spool.system.clock import now
from tests.spool.given import put


@pytest.mark.parametrize(
    ("result", "part"),
    [
        ("exit127", "not found"),
        ("exit3", "exited with 3"),
        ("signal9", "SIGKILL"),
        ("signal63", "63"),
        ("lost", "unknown"),
        ("nonsense", ""),
    ],
)
def test_results_in_words(result: str, part: str) -> None:
    """Each result says what happened."""
    assert part in wording.result(result)


@pytest.mark.parametrize(
    ("data", "line", "column", "before", "behind"),
    [
        (b'{"command": "x",\n "a": 1,}', 2, 9, ' "a": 1,', "}"),
        (b'{"a":\n"\xff"}', 2, 2, '"', '\ufffd"}'),
        (b"", None, None, "", ""),
        (b"[1]", None, None, "", ""),
    ],
)
def test_refusal_shows_the_place(
    spool: Spool, data: bytes, line: int | None, column: int | None, before: str, behind: str
) -> None:
    """A parse error is shown at its line and column, split where it is."""
    path = put(spool.layout, "20261124T034300.000Z-010-0-invalid-0.000s-x.json", state=State.DEAD)
    path.write_bytes(data)
    job = query.load(spool.layout, State.DEAD, path.name)
    assert job is not None
    refusal = wording.refusal(job.problem, data)
    assert (refusal.line, refusal.column, refusal.before, refusal.behind) == (line, column, before, behind)
    assert refusal.reason


def test_waiting_is_one_sentence_for_each_reason() -> None:
    """Each reason is a sentence, in their order."""
    reasons = (Reason("full", "the disk is full"), Reason("behind", "1 job before it"))
    assert wording.waiting(reasons) == "The disk is full. 1 job before it."
    assert wording.waiting(()) == ""


def test_commands_can_be_typed_as_they_are(spool: Spool) -> None:
    """Paths with spaces are quoted."""
    odd = Spool(spool.path.parent / "a b", create=True)
    job = odd.enqueue("true", id="x")
    assert any("'" in text for _, text in wording.commands(job, odd.layout, now()) if text.startswith("rm"))
