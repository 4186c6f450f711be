"""A limit on wrong tokens: who has given too many is not asked again for a while, so that none can be guessed."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST = 10
"""Wrong tokens from one address within `WINDOW`."""
WINDOW = 60.0
"""Seconds."""
_ADDRESSES = 10_000  # that are remembered


class Attempts:
    """Counts wrong tokens by the address that they came from. Thread-safe.

    Addresses of one IPv6 network (/64) count as one. Behind a proxy or on a Unix socket all clients have one address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def left(self, address: str) -> float:
        """Seconds for which no token is accepted from there; 0 if one is."""
        with self._lock:
            since, number = self._wrong.get(_network(address), (0.0, 0))
            return max(0.0, since + WINDOW - self._clock()) if number >= MOST else 0.0

    def note_wrong(self, address: str) -> None:
        """Count one."""
        key, at = _network(address), self._clock()
        with self._lock:
            since, number = self._wrong.get(key, (at, 0))
            self._wrong[key] = (at, 1) if at - since > WINDOW else (since, number + 1)
            self._wrong.move_to_end(key)
            while len(self._wrong) > _ADDRESSES:
                self._wrong.popitem(last=False)


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
