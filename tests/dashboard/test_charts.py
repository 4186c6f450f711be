from __future__ import annotations

import re
from datetime import timedelta

from queuectl import Spool, State
from queuectl.core.names import FinishedName, PendingName
from queuectl.core.result import Result
from queuectl.dashboard import charts
from queuectl.dashboard.snapshot import Snapshot
from queuectl.spool.reading.waits import WaitReader
from tests.spool.given import NOW, put


def test_jobs_are_counted_where_they_ended(spool: Spool) -> None:
    """Each finished job is in the span it ended in; those before the first are in none."""
    for minutes, result in ((0, 0), (1, 1), (1, 0), (59, 0), (61, 0)):
        state = State.DEAD if result else State.DONE
        put(
            spool.layout,
            FinishedName(NOW - timedelta(minutes=minutes), 10, 1, Result.exit(result), 5, f"j{minutes}{result}"),
            state=state,
        )
    snapshot = Snapshot(spool)
    series = charts.count(snapshot.view(), NOW, timedelta(minutes=1), 60)
    snapshot.close()
    assert (series.done[-1], series.done[-2], series.dead[-2], series.done[0]) == (1, 1, 1, 1)
    assert (series.total_done, series.total_dead) == (3, 1)
    drawn = charts.draw(series, "label")
    assert len(re.findall("<title>", drawn)) == 60
    assert drawn.count('class="bar-done"') == 3
    assert drawn.count('class="bar-dead"') == 1


def test_bar_of_one_among_thousands_is_still_drawn() -> None:
    """A single failure does not vanish in the scale of the successes."""
    series = charts.Series(NOW, timedelta(minutes=1), (100_000, 0), (0, 1))
    height = re.search(r'bar-dead"[^>]* height="([\d.]+)"', charts.draw(series, ""))
    assert height is not None
    assert float(height[1]) >= 3


def test_durations_and_waits_are_counted_by_steps(spool: Spool) -> None:
    """Done jobs by how long they took, ready ones by how long they have waited, with the half and the 95 %."""
    for number, ms in enumerate((50, 900, 900, 2_000_000)):
        put(spool.layout, FinishedName(NOW, 10, 1, Result.exit(0), ms, f"gpu.{number}"), state=State.DONE)
    for minutes in (1, 2, 90):
        put(spool.layout, PendingName(10, NOW - timedelta(minutes=minutes), 0, f"w{minutes}"))
    snapshot = Snapshot(spool)
    view = snapshot.view()
    snapshot.close()
    took = charts.durations(view, NOW + timedelta(seconds=1), timedelta(hours=1))
    named = {charts.step_name(index): count for index, count in enumerate(took.counts) if count}
    assert named == {"up to 0.1 s": 1, "up to 1 s": 2, "up to 1 h": 1}
    assert (took.p50, took.p95, took.total) == (0.9, 2000, 4)
    assert charts.durations(view, NOW + timedelta(hours=2), timedelta(hours=1)).total == 0
    assert charts.durations(view, NOW + timedelta(seconds=1), timedelta(hours=1), "cpu").total == 0
    waited = charts.waits(view, NOW)
    named = {charts.step_name(index): count for index, count in enumerate(waited.counts) if count}
    assert named == {"up to 1 min": 1, "up to 3 min": 1, "up to 3 h": 1}
    assert 'class="bar-time"' in charts.draw_histogram(waited, "label")


def test_waits_of_ended_jobs_are_in_their_logs(spool: Spool) -> None:
    """Those that ended in that time and whose logs say it, of the group; what is not read in time is counted, and known
    the next time."""
    for number, text in enumerate(("0.050", "2.000", "9.000", "-1", "x")):
        state = State.DEAD if number == 2 else State.DONE
        name = FinishedName(NOW, 10, 1, Result.exit(int(number == 2)), 5, f"gpu.{number}")
        put(spool.layout, name, state=state)
        used = f"used attempt=1 max_rss=9 cpu_user=1.000 cpu_system=1.000 waited={text}"
        spool.log_path(name.id).write_text(f"out\n#queuectl note {used}\n")
    put(spool.layout, FinishedName(NOW - timedelta(hours=2), 10, 1, Result.exit(0), 5, "old"), state=State.DONE)
    snapshot = Snapshot(spool)
    view = snapshot.view()
    snapshot.close()
    reader = WaitReader(spool.layout)
    assert reader.waits(["x"], -1) == ([], 1)
    at, hour = NOW + timedelta(seconds=1), timedelta(hours=1)
    found = charts.waited(view, at, hour, reader)
    named = {charts.step_name(index): count for index, count in enumerate(found.counts) if count}
    assert named == {"up to 0.1 s": 1, "up to 3 s": 1, "up to 10 s": 1}
    assert (found.p50, found.p95, found.unread, found.is_part) == (2, 9, 0, 0)
    assert charts.waited(view, at, hour, reader, "cpu").total == 0
    assert sorted(reader.waits([str(name) for name in view.shelves[State.DONE].select()], -1)[0]) == [0.05, 2]


def test_by_group_and_of_a_group(spool: Spool) -> None:
    """How many of each group ended how within the time; a chart can be that of one group."""
    for id, state in (("a.1", State.DONE), ("a.2", State.DEAD), ("b.1", State.DONE), ("c", State.DONE)):
        put(spool.layout, FinishedName(NOW, 10, 1, Result.exit(int(state is State.DEAD)), 5, id), state=state)
    snapshot = Snapshot(spool)
    view = snapshot.view()
    snapshot.close()
    assert charts.by_group(view, NOW, timedelta(hours=1)) == [("a", 1, 1), ("b", 1, 0)]
    assert charts.by_group(view, NOW + timedelta(hours=9), timedelta(hours=1)) == []
    series = charts.count(view, NOW, timedelta(minutes=1), 60, "a")
    assert (series.total_done, series.total_dead) == (1, 1)
    assert [row[1:] for row in charts.rows(series)] == [(1, 1)]
