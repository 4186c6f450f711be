"""What a worker reports to systemd: ready, alive, stopping (sd_notify(3), for Type=notify); without a library."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import IntEnum


class Ending(IntEnum):
    """How a worker has ended, as the exit code of its process.

    `LEFT` means that it has drained and left jobs that cannot start by themselves, `DETACHED` that its running jobs are
    left to the next worker, which the units of contrib/systemd start upon that code.
    """

    DONE = os.EX_OK
    LEFT = 76
    DETACHED = os.EX_TEMPFAIL


class Notifier:
    """Silent if systemd does not listen. For one thread only."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """`address` is that of the socket; `watchdog` the seconds within which systemd wants a sign of life."""
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._interval = watchdog / 2 if watchdog and address else None
        self._beat_at = 0.0

    @classmethod
    def from_environment(cls) -> Notifier:
        """That of this process, for which it takes the variables away: jobs are no services."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        pid, limit = os.environ.pop("WATCHDOG_PID", ""), os.environ.pop("WATCHDOG_USEC", "")
        is_meant = pid in ("", str(os.getpid())) and limit.isdecimal() and int(limit) > 0
        return cls(address, int(limit) / 1e6 if is_meant else None)

    @property
    def is_service(self) -> bool:
        """Whether somebody listens."""
        return self._address is not None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def beat(self) -> None:
        """Give a sign of life if it is time to; call it at least at each `next_beat`."""
        now = time.monotonic()
        if self._interval is not None and now >= self._beat_at:
            self._beat_at = now + self._interval
            self._send("WATCHDOG=1")

    @property
    def next_beat(self) -> float | None:
        """In monotonic seconds."""
        return None if self._interval is None else self._beat_at

    def _send(self, text: str) -> None:
        if self._address is not None:
            import socket  # only below systemd

            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(self._address)
                sender.sendall(text.encode())
