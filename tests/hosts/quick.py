"""`python -m queuectl` for tests, in which a host is a minute of beats in three seconds."""

from __future__ import annotations

from queuectl.spool.system import beats

beats.BEAT, beats.LOST = 0.6, 3.0

from queuectl.cli.main import main  # noqa: E402 - which takes over these times

if __name__ == "__main__":
    main()
