from __future__ import annotations

from queuectl import Spool, State
from queuectl.spool.reading import query
from queuectl.spool.reading.causes import NOTHING, CauseReader
from tests.spool.given import put_finished

START = "#queuectl start attempt=1 started_at=20261124T034300.120Z worker=web1.4242.k7f3 pid=1\n"


def died(spool: Spool, id: str, output: str, result: str = "exit1", command: str = "false") -> None:
    """A dead letter that has written this."""
    put_finished(spool.layout, id, result, command=command)
    spool.log_path(id).write_text(f"{START}{output}\n#queuectl end attempt=1 started_at=20261124T034300.120Z exit=1\n")


def names(spool: Spool) -> list[str]:
    return [*query.sorted_names(spool.layout, State.DEAD, None)]


def test_causes_are_counted_by_result_and_folded_last_line(spool: Spool) -> None:
    """Jobs whose last lines differ in numbers only are one cause, another result is another; most frequent first."""
    for number in range(3):
        died(spool, f"a{number}", f"Traceback\nKeyError: {number} 0x1", command=f"/bin/report --id {number}")
    died(spool, "other", "KeyError: 9", "exit2")
    died(spool, "silent", "")
    found = CauseReader(spool.layout).causes(names(spool), 10)
    assert [(cause.result, cause.line, cause.count) for cause in found.found] == [
        ("exit1", "KeyError: N N", 3),
        ("exit1", NOTHING, 1),
        ("exit2", "KeyError: N", 1),
    ]
    assert found.found[0].commands == ("/… --id N",)
    assert found.found[0].example == f"KeyError: {found.found[0].id[1:]} 0x1"
    assert (found.found[0].said, found.found[0].ran) == ("KeyError: N 0x1", ("/bin/report --id N",))
    assert (found.looked, found.total, found.is_complete) == (5, 5, True)


def test_causes_without_time_say_how_many_are_left(spool: Spool) -> None:
    """What was not read is counted as such, and what was read once is known without time."""
    for number in range(3):
        died(spool, f"a{number}", "boom")
    reader = CauseReader(spool.layout)
    assert (reader.causes(names(spool), 10, patience=-1).looked, reader.matching(names(spool), "boom", -1)) == (
        0,
        ([], 3),
    )
    reader.causes(names(spool), 10)
    assert reader.causes(names(spool), 10, patience=-1).is_complete
    assert reader.matching(names(spool), "boom", -1) == (names(spool), 0)


def test_causes_shows_the_most_frequent(spool: Spool) -> None:
    """Of many kinds so many are described, and all are counted."""
    for number, line in enumerate(("one", "two", "two", "three")):
        died(spool, f"a{number}", line)
    found = CauseReader(spool.layout).causes(names(spool), 1)
    assert [cause.line for cause in found.found] == ["two"]
    assert found.kinds == 3


def test_cause_of_a_refused_file_is_why(spool: Spool) -> None:
    """Not that it has no output; files that were refused for the same reason are one cause."""
    for number in range(2):
        put_finished(spool.layout, f"bad{number}", "invalid")
        spool.log_path(f"bad{number}").write_text(
            f'#queuectl refused file="a.json" reason="no \\"command\\" in line {number}"\n'
        )
    found = CauseReader(spool.layout).causes(names(spool), 10)
    assert [(cause.line, cause.count, cause.said) for cause in found.found] == [
        ('no "command" in line N', 2, 'no "command" in line N')
    ]
    assert found.found[0].example == 'no "command" in line 1'
