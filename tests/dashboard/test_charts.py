from __future__ import annotations

import re
from datetime import timedelta

from queuectl import Spool, State
from queuectl.core.names import FinishedName
from queuectl.core.result import Result
from queuectl.dashboard import charts
from queuectl.dashboard.snapshot import Snapshot
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
