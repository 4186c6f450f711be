"""A running worker among hundreds of files that are not jobs: none lost, none looping, none in the way."""

from __future__ import annotations

import os
from collections import Counter

from queuectl import Spool
from queuectl.core.names import FinishedName
from tests.spool.malformed import INCOMPLETE, INVALID, NAMES, SPECIAL
from tests.support import CommandLine, names, wait_for, workers


def test_malformed_drops_end_in_the_dead_letters(spool: Spool, cli: CommandLine) -> None:
    """Each file is refused once, its bytes untouched and its reason reported, while good jobs run."""
    cli.ok("config", "set", "settle", "0.5")
    contents = {**INCOMPLETE, **INVALID}
    expected = Counter(contents.values())
    total = len(contents) + len(SPECIAL)
    assert total > 200
    with workers(spool.path) as (worker,):
        for number, data in enumerate(contents.values()):
            (spool.path / "pending" / f"bad{number}.json").write_bytes(data)
        for number, make in enumerate(SPECIAL.values()):
            make(spool.path / "pending" / f"special{number}.json")
        spool.enqueue("true", id="good", priority=999)
        spool.wait("good", timeout=30)
        wait_for(lambda: names(spool.path / "pending") == [], "an empty pending/", patience=60)
        wait_for(lambda: sum(event["event"] == "refused" for event in worker.events()) == total)
        spool.enqueue("true", id="last")
        spool.wait("last", timeout=30)
    assert sum(event["event"] == "refused" for event in worker.events()) == total
    dead = [spool.path / "dead" / name for name in names(spool.path / "dead")]
    assert len(dead) == total
    assert Counter(path.read_bytes() for path in dead if path.is_file() and not path.is_symlink()) == expected
    for path in dead:
        name = FinishedName.parse(path.name)
        assert name is not None
        assert "reason=" in spool.log_path(name.id).read_text()
    assert len(cli.json("list", "--state", "dead", "--limit", "1000")) == total


def test_jobs_under_any_name_run_once(spool: Spool) -> None:
    """Whatever bytes a file's name has, if it ends in .json and does not start with a dot, its job runs."""
    with workers(spool.path):
        for text in NAMES:
            temporary = spool.path / "tmp" / "x"
            temporary.write_text('{"command": "true"}')
            os.rename(temporary, os.path.join(spool.path, "pending", text))
        wait_for(lambda: spool.counts().done == len(NAMES), "the end of every job")
    assert names(spool.path / "pending") == names(spool.path / "dead") == []
