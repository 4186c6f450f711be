"""The storm over containers, in its short form; and that its judge is not blind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import need
from tests.torture import containers, ledger, namespaces


def test_storm_over_three_pid_namespaces(tmp_path: Path) -> None:
    """Whatever two dozen kinds of agents do and whatever they kill: nothing lost, doubled, overlapping or untrue."""
    need("flock", "unshare", "nsenter")
    if reason := namespaces.missing():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    outcome = containers.rage(tmp_path, seconds=8)
    assert outcome.verdict.problems == []
    assert outcome.verdict.figures["attempts"] > 30
    assert outcome.verdict.figures["acknowledged"] > 50


ONE, TWO = "web1.1.aaaa:20261124T034300.000Z:x", "web1.1.aaaa:20261124T034310.000Z:x"
LINES = {
    "0": "#queuectl end attempt=1 started_at={} exit=0",
    "3": "#queuectl end attempt=1 started_at={} exit=3",
    "t": "#queuectl note ending attempt=1 started_at={} reason=timeout",
    "T": "#queuectl end attempt=1 started_at={} result=timeout bytes=7",
}
"""What a log says of an attempt; after a `/` come those of the next one."""
AT = 1795491770
"""20261124T034250."""
ENQUEUED = [f"> 1 enqueue x {AT}", f"< 1 ok {AT}"]
RAN = [f"S x 1 {ONE} 0 0 0", f"E x 1 {ONE} 0"]
DONE = "done/20261124T034312.420Z-010-1-exit0-12.300s-x.json"
CANCELLED = "dead/20261124T034312.420Z-010-1-cancelled-12.300s-x.json"


@pytest.mark.parametrize(
    ("lines", "ends", "files", "problem"),
    [
        (RAN, "0", [DONE], None),
        (RAN, "0", [], "acknowledged, and lost"),
        ([*RAN, f"> 2 drop x {AT}", f"< 2 ok {AT}"], "0", [], None),
        (RAN, "0", [DONE, "pending/010-20261124T034300.000Z-0-x.json"], "2 files"),
        (RAN, "0", ["pending/010-20261124T034300.000Z-0-x.json"], "still pending"),
        (RAN, "0", [CANCELLED], "is cancelled though"),
        (RAN, "0", [CANCELLED.replace("cancelled", "lost")], "is lost though"),
        (RAN[:1], "0", [DONE], "never said so"),
        (RAN, "t0T", [CANCELLED.replace("cancelled", "timeout")], None),
        (RAN, "0T", [CANCELLED.replace("cancelled", "timeout")], "is timeout though"),
        (RAN, "t0", [DONE], "its log says"),
        (RAN, "3", [DONE], "its log says"),
        ([*RAN, f"O x 1 {TWO}"], "0", [DONE], "two attempts at once"),
        ([*RAN, RAN[0]], "0", [DONE], "began 2 times"),
        ([*RAN, f"S x 2 {TWO} 0 0 0", f"E x 2 {TWO} 0"], "0/0", [DONE], "ran again"),
        ([*RAN, f"> 2 retry x {AT}", "< 2 ? 0", f"S x 1 {TWO} 0 0 0", f"E x 1 {TWO} 0"], "0/0", [DONE], None),
        ([f"> 2 cancel x {AT}", f"< 2 ok {AT}", *RAN], "0", [DONE], "after the cancel"),
        ([f"> 2 cancel x {AT}", f"< 2 no {AT}", *RAN], "0", [DONE], None),
        ([f"> 2 cancel x {AT}", f"> 3 retry x {AT}", f"< 3 ok {AT}", f"< 2 ok {AT}", *RAN], "0", [DONE], None),
        ([f"> 2 set1 x {AT}", f"< 2 ok {AT}", *RAN], "0", [DONE], "without the change"),
        ([f"> 2 set0 x {AT}", f"< 2 ok {AT}", RAN[0].replace("0 0 0", "2 0 0"), RAN[1]], "0", [DONE], None),
    ],
)
def test_judge(tmp_path: Path, lines: list[str], ends: str, files: list[str], problem: str | None) -> None:
    """Each kind of lie is seen, and what merely looks like one is not."""
    for directory in ("pending", "running", "done", "dead", "logs"):
        (tmp_path / directory).mkdir()
    for name in files:
        (tmp_path / name).write_text(json.dumps({"command": "true"}))
    parts = zip((ONE, TWO), ends.split("/"), strict=False)
    log = [LINES[sign].format(token.split(":")[1]) for token, signs in parts for sign in signs]
    (tmp_path / "logs" / "x.log").write_text("\n".join([*log, ""]))
    (tmp_path / "ledger").write_text("\n".join([*ENQUEUED, *lines, ""]))
    problems = ledger.judge(tmp_path, tmp_path / "ledger").problems
    assert any(problem in text for text in problems) if problem else problems == []
