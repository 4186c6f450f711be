"""How threads wake the main thread of a worker."""

from __future__ import annotations

import select

from queuectl.work.waker import Waker


def is_woken(waker: Waker) -> bool:
    return bool(select.select([waker], [], [], 0)[0])


def test_waker_wakes_until_it_is_cleared() -> None:
    """However often it is woken, and also when its pipe is full; clearing it twice does not block."""
    waker = Waker()
    assert not is_woken(waker)
    for _ in range(100_000):
        waker.wake()
    assert is_woken(waker)
    while is_woken(waker):
        waker.clear()
    waker.clear()


def test_waker_wakes_who_would_sleep_too_long() -> None:
    """Only for a moment before the main thread wakes up by itself."""
    waker = Waker()
    waker.sleeps_until = 100.0
    waker.wake_before(100.0)
    assert not is_woken(waker)
    waker.wake_before(99.0)
    assert is_woken(waker)


def test_waker_forgets_what_was_asked_for_once_a_look_begins() -> None:
    """Of several moments the first counts, until the next look."""
    waker = Waker()
    waker.wake_in(1)
    first = waker.wake_at
    waker.wake_in(1000)
    assert waker.wake_at == first
    waker.begin()
    assert waker.wake_at == float("inf")
