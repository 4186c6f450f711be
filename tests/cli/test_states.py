"""`queuectl states`: an answer for every id."""

from __future__ import annotations

from queuectl import Spool, State
from tests.spool.given import pending_name, put, put_finished
from tests.support import CommandLine


def test_states_prints_a_line_for_each_id(cli: CommandLine, spool: Spool) -> None:
    """In the order given, from the command line or stdin, with exit code 0 for unknown ones too."""
    put(spool.layout, pending_name("waits"))
    put_finished(spool.layout, "ended", state=State.DEAD, result="signal9")
    expected = "ended dead signal9\nnosuch unknown\nwaits pending"
    assert cli.ok("states", "ended", "nosuch", "waits") == expected
    assert cli.ok("states", "-", stdin="ended\nnosuch\n\nwaits echo hi\n") == expected
    assert cli.ok("states", "-", stdin="") == ""
    assert [each["state"] for each in cli.json("states", "ended", "nosuch", "waits")] == ["dead", "unknown", "pending"]


def test_states_keeps_each_answer_on_its_line(cli: CommandLine) -> None:
    """What is no id at all is unknown too, and cannot break the line or a terminal."""
    assert cli.ok("states", "a\nb c\x1b[2J", "x") == "a?b?c unknown\nx unknown"
