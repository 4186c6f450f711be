"""How a worker of a shared spool finds out whether it hears what other hosts do, and how often it looks if not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.settings import Settings
from queuectl.spool.system.layout import create
from queuectl.work.context import Context
from queuectl.work.poll import Poll
from queuectl.work.report import Report
from tests.support import CommandLine, wait_for

OWN = "web1.aaaaaa.1.aaaa"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    create(tmp_path / "spool", is_shared=True)
    return Context(Spool(tmp_path / "spool"), Report(stream=io.StringIO()), Settings())


@pytest.fixture
def poll(context: Context) -> Iterator[Poll]:
    made = Poll(context, OWN, None)
    yield made
    made.close()


def beat(context: Context, host: str, number: int) -> None:
    """The beat of a host, as it renames it."""
    place = Path(context.layout.hosts)
    before = place / f"{host}-{number - 1}-{host}.1.aaaa"
    before.touch()
    before.rename(place / f"{host}-{number}-{host}.1.aaaa")


def is_blind(poll: Poll) -> bool:
    poll.try_again()
    return poll.is_blind


def test_poll_until_every_other_host_was_heard(context: Context, poll: Poll) -> None:
    """Alone it polls; it stops once all other hosts were heard, and begins again with one that is not."""
    beat(context, "web1.aaaaaa", 1)
    assert is_blind(poll)
    assert poll.name == "auto"
    beat(context, "web2.bbbbbb", 1)
    wait_for(lambda: not is_blind(poll), "hearing the beat")
    assert poll.interval(0) == float("inf")
    poll._heard.clear()  # as if that had been done through another mount
    assert is_blind(poll)


@pytest.mark.parametrize("mark", ["web2.bbbbbb-gone-me", "web2.bbbbbb-7-left", "id"])
def test_poll_expects_nothing_of_a_host_that_is_not_there(context: Context, poll: Poll, mark: str) -> None:
    """A host that is gone, or whose workers have stopped, is not one to hear of."""
    beat(context, "web3.cccccc", 1)
    wait_for(lambda: not is_blind(poll), "hearing the beat")
    poll._heard.pop("web2.bbbbbb", None)
    (Path(context.layout.hosts) / mark).touch()
    assert not is_blind(poll)


@pytest.mark.parametrize(("idle", "seconds"), [(0, 0.5), (30, 0.5), (60, 1.0), (300, 5.0), (600, 10.0), (86400, 10.0)])
def test_poll_is_rarer_the_longer_there_was_no_work(poll: Poll, idle: float, seconds: float) -> None:
    """Half a second while there is work, a second after a minute without, ten after ten minutes."""
    assert poll.interval(idle) == seconds


def test_poll_that_was_asked_for(context: Context, cli: CommandLine) -> None:
    """A number of seconds holds whatever is heard, and on one host's spool; one that is no time is refused."""
    forced = Poll(context, OWN, 2.0)
    assert (forced.name, forced.interval(600)) == (2.0, 2.0)
    assert "polls every 2 s" in cli.run("worker", "start", "--drain", "--poll", "2").stderr
    assert cli.run("worker", "start", "--drain", "--poll", "auto").returncode == 0
    assert cli.run("worker", "start", "--drain", "--poll", "0").returncode == 2
