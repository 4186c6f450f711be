from __future__ import annotations

import pytest

from queuectl import Spool, State
from queuectl.core.admission import Reason
from queuectl.dashboard import wording
from queuectl.spool.reading import query
from queuectl.spool.system.clock import now
from tests.spool.given import NOW, put


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
        (b'{"command": "x",\n "a": 1 "b"}', 2, 9, ' "a": 1 ', '"b"}'),
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


def test_reasons_are_sentences() -> None:
    """In their order, with times that the pages show as all others, commands that can be typed anywhere, no markup."""
    reasons = (
        Reason("paused", "the queue has been paused since 2026-11-24 03:43:00 +0000: <b>"),
        Reason("held", "it is held; to release it: queuectl release x; or wait"),
        Reason("busy", "busy"),
    )
    paused, held = wording.sentences(reasons, "/a b", NOW, without=("busy",))
    assert 'datetime="2026-11-24T03:43:00.000Z"' in paused
    assert paused.endswith("</time>: &lt;b&gt;.")
    assert held == "It is held; to release it: <code>queuectl --spool &#x27;/a b&#x27; release x</code>; or wait."
    assert wording.sentences([Reason("x", "x 0000-99-00 03:43:00 +0000")], "/", NOW)


def test_commands_can_be_typed_as_they_are(spool: Spool) -> None:
    """Paths with spaces are quoted."""
    odd = Spool(spool.path.parent / "a b", create=True)
    job = odd.enqueue("true", id="x")
    assert any("'" in text for _, text in wording.commands(job, odd.layout, now()) if text.startswith("rm"))
