"""The lines of queuectl's in a log, for people."""

from __future__ import annotations

import pytest

from queuectl.spool.reading.log_lines import describe
from queuectl.spool.system.logs import parse_mark

AT = "attempt=1 started_at=20261124T034300.000Z"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f"start {AT} worker=web1.4242.k7f3 pid=1", "attempt 1 started at 03:43:00 by web1.4242.k7f3"),
        (f"end {AT} exit=1", "attempt 1 ended: exit1"),
        (f"end {AT} status=137", "attempt 1 ended: signal9"),
        (f"end {AT} result=released", "attempt 1 ended: released"),
        (f'end {AT} exit=126 bytes=0 reason="cannot be run: it is\\na \\"x\\""',
         'attempt 1 ended: exit126; cannot be run: it is\\x0aa "x"'),
        (f"note ending {AT} reason=timeout", "ending attempt 1: timeout"),
        ("note attempt=1 ended_at=20261124T034312.420Z duration=0.532",
         "attempt 1 took 0.532 s, and ended at 03:43:12"),
        ('note edited at=2026-11-24T03:44:00.000Z fields="timeout,max_retries"',
         "changed at 03:44:00: timeout, max_retries"),
        ("retry at=2026-11-24T03:44:00.000Z after=exit1 attempt=1 ended_at=20261124T034312.420Z duration=0.532",
         "retried at 03:44:00, after exit1"),
        ("retry at=2026-11-24T03:44:00.000Z after=invalid was=file-k7f3",
         "retried at 03:44:00, after invalid; it was file-k7f3"),
        ("retry by hand: its file was moved back to pending", "retried by hand: its file was moved back to pending"),
        ('refused file="x y.json" reason="not JSON"', "refused: not JSON (the file x y.json)"),
        ('refused file=inbox submitted_by="ann" reason="not JSON"', "refused: not JSON"),
        ("refused", "refused "),
        ("note anything \x1b[31m", "note anything \\x1b[31m"),
        ("note attempt=x ended_at=x duration=x", "attempt x took ?, and ended"),
        ("note attempt=1 ended_at=99991231T235959.999Z duration=1e999",
         "attempt 1 took 11574 d 1 h, and ended at 23:59:59"),
        ("start", "attempt ? started by ?"),
        ("end", "attempt ? ended: ?"),
    ],
)  # fmt: skip
def test_line(line: str, text: str) -> None:
    """Every kind says in words what happened, in which attempt and when, and nothing in it steers a terminal."""
    mark = parse_mark(f"#queuectl {line}\n".encode())
    assert mark is not None
    assert describe(mark, lambda at: f"{at:%H:%M:%S}") == text
