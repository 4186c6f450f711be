"""The marks of hosts: beats, `left`, `gone`, and how long they have been seen."""

from __future__ import annotations

import os
import time

import pytest

from queuectl import Spool
from queuectl.spool.system import beats, files, host
from queuectl.spool.system.beats import Mark

WORKER = "web1.k7f3q2.42.aaaa"


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("web1.k7f3q2-17-web1.k7f3q2.42.aaaa", Mark("web1.k7f3q2", 17, WORKER)),
        ("web1.k7f3q2-17-left", Mark("web1.k7f3q2", 17, "left")),
        ("web1.k7f3q2-gone-web2.aaaaaa.zzzz", Mark("web1.k7f3q2", None, "web2.aaaaaa.zzzz")),
        ("id", None),
        ("web1.k7f3q2-017-x", None),
        ("web1-1-x", None),
    ],
)
def test_mark_is_its_name(text: str, mark: Mark | None) -> None:
    """Each name has one value and each value one name; others are no marks."""
    assert Mark.parse(text) == mark
    assert mark is None or str(mark) == text


def test_renewal_and_gone_exclude_each_other(shared: Spool) -> None:
    """Both rename the beat that was seen, so the second one fails; and gone is for good."""
    first = beats.join(shared.layout, WORKER)
    second = beats.renew(shared.layout, first, WORKER)
    assert second is not None
    assert not beats.say_gone(shared.layout, first, "web2")
    assert beats.say_gone(shared.layout, second, "web2")
    assert beats.renew(shared.layout, second, WORKER) is None
    assert beats.join(shared.layout, WORKER).is_gone
    assert beats.is_gone(shared.layout, host.here(shared.layout).name)


def test_host_that_left_joins_with_a_later_beat(shared: Spool) -> None:
    """So who has seen an earlier one cannot say gone of it."""
    first = beats.join(shared.layout, WORKER)
    assert beats.leave(shared.layout, first)
    assert len([name for name in os.listdir(shared.layout.hosts) if name != "id"]) == 1
    again = beats.join(shared.layout, WORKER)
    assert (again.number, again.by) == (1, WORKER)
    assert not beats.say_gone(shared.layout, first, "web2")


def test_host_without_a_mark_can_be_said_to_be_gone(shared: Spool) -> None:
    """Of one whose mark somebody has removed, but not of one that has a mark."""
    name = host.here(shared.layout).name
    assert beats.say_unknown_gone(shared.layout, "web9.aaaaaa", "web2")
    beats.join(shared.layout, WORKER)
    assert not beats.say_unknown_gone(shared.layout, name, "web2")
    assert {name: mark.is_gone for name, mark in beats.look(shared.layout).items()} == {
        "web9.aaaaaa": True,
        name: False,
    }


def test_watch_measures_from_when_it_first_saw_a_mark(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own clock, which the next process of this host continues; a mark that moved begins again."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    own = host.here(shared.layout)
    mark = beats.join(shared.layout, WORKER)
    assert beats.Watch(own).look(shared.layout) == {own.name: (mark, 0.0)}
    now[0] += 70
    assert beats.Watch(own).look(shared.layout)[own.name][1] == pytest.approx(70)
    renewed = beats.renew(shared.layout, mark, WORKER)
    assert beats.Watch(own).look(shared.layout) == {own.name: (renewed, 0.0)}


def test_mark_of_a_host_that_left_is_removed_after_a_time(shared: Spool) -> None:
    """It alone: beats and gone stay; and a host that works again then has a beat that was never there before."""
    first = beats.join(shared.layout, WORKER)
    for other in ("web2.aaaaaa-gone-web1", "web3.aaaaaa-5-web3.aaaaaa.1.cccc"):
        files.write_new(f"{shared.layout.hosts}/{other}", b"")
    assert beats.leave(shared.layout, first)
    now = time.time()
    assert beats.clear(shared.layout, now - 60) == 0
    assert beats.clear(shared.layout, now + 60) == 1
    assert {"web2.aaaaaa", "web3.aaaaaa"} == {*beats.look(shared.layout)}
    again = beats.join(shared.layout, "web1.k7f3q2.43.bbbb")
    assert (again.number, again.by) == (0, "web1.k7f3q2.43.bbbb")
    assert not beats.say_gone(shared.layout, first, "web2")
