"""A Dask scheduler of one's own: a process that outlives the worker which has started it, so that what runs does too.

It ends once nobody has been connected to it for a while. Its directory says where it listens; a worker that is started
again finds it there. All connections are encrypted, with a key that is in this directory and in the hands of whatever
it is given to: who has none cannot connect.

`python -m queuectl.work.engines.own_scheduler DIRECTORY HOST PORT` is that process.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from distributed import Scheduler
from distributed.security import Security
from distributed.utils import get_ip

from queuectl.errors import SpoolError
from queuectl.spool.system import files

_ALONE = 60.0  # seconds without a connection after which it ends
_START = 60.0  # seconds within which it listens
_OLD = 180 * 86400.0  # seconds after which a key is replaced: it is valid for a year
_MODULE = "queuectl.work.engines.own_scheduler"
_BEAT = 1.0


class OwnScheduler:
    """The scheduler of one directory, for the one who has locked that."""

    def __init__(self, directory: str, host: str, port: int) -> None:
        """It listens there once it is started; at the first address of this host without one, and port 0 is any.

        Raises SpoolError if another process uses that directory.
        """
        self._directory = directory
        self._host, self._port = host or str(get_ip()), port  # type: ignore[no-untyped-call]
        try:
            os.makedirs(directory, 0o700, exist_ok=True)
            self._lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = f"another worker of this spool has the name {os.path.basename(directory)}"
            hint = "stop it (queuectl worker stop), or give this one a name: --name NAME"
            raise SpoolError(what, hint=hint) from None
        except OSError as error:
            raise SpoolError(f"cannot use {directory}", error.strerror or str(error)) from error

    @property
    def address(self) -> str:
        return str(self._read().get("address", ""))

    @property
    def keys(self) -> dict[str, str]:
        """What one needs to connect: texts of certificates, and a key."""
        return _read_json(f"{self._directory}/tls.json")

    def _make_keys(self) -> None:
        """Unless there are some that are not old: those that a batch job has which is still queued."""
        path = f"{self._directory}/tls.json"
        with suppress(OSError, ValueError):
            if time.time() - os.stat(path).st_mtime < _OLD and _read_json(path):
                return
        made = Security.temporary()  # type: ignore[no-untyped-call]
        keys = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
        files.replace(path, json.dumps(keys).encode())

    def ensure(self) -> tuple[str, Security]:
        """Its address and how to connect, once it runs; raises SpoolError if it cannot be started."""
        if not self._is_running():
            self._make_keys()
            self._start()
        return self.address, security_of(self.keys)

    def _read(self) -> dict[str, Any]:
        try:
            return _read_json(f"{self._directory}/scheduler.json")
        except (OSError, ValueError):
            return {}

    def _is_running(self) -> bool:
        return self._find() is not None

    def _find(self) -> int | None:
        """A pidfd of its process; None if it has ended."""
        pid = self._read().get("pid")
        if not isinstance(pid, int):
            return None
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        with suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if _MODULE.encode() in words and os.fsencode(self._directory) in words:
                return descriptor
        os.close(descriptor)
        return None

    def _start(self) -> None:
        port = self._port or self._last_port()
        for at in dict.fromkeys((port, self._port)):
            why = self._try_to_start(at)
            if why is None:
                return
        hint = "choose another with --port, or another address of this host with --address"
        raise SpoolError(f"the Dask scheduler cannot listen on {self._host}", why or "", hint)

    def _last_port(self) -> int:
        """That of the last one, so that whoever looks for that finds this one."""
        text = self.address.rpartition(":")[2]
        return int(text) if text.isdecimal() else 0

    def _try_to_start(self, port: int) -> str | None:
        """None once it listens; else why it does not."""
        log = f"{self._directory}/scheduler.log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, self._directory, self._host, str(port)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if self._read().get("pid") == process.pid:
                return None
            if process.poll() is not None:
                with open(log, encoding="utf-8", errors="replace") as file:
                    return (file.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            time.sleep(0.02)
        process.kill()
        return f"it has not begun to listen within {_START:g} seconds; see {log}"

    def stop(self, patience: float = 10.0) -> None:
        """End it, and with it all that is connected to it."""
        descriptor = self._find()
        if descriptor is None:
            return
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
                if _wait_end(descriptor, patience):
                    return
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let another worker use the directory."""
        os.close(self._lock)


def security_of(keys: dict[str, str]) -> Security:
    """How to connect, or to be connected to, with these."""
    ca, cert, key = keys["ca"], keys["cert"], keys["key"]
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key,
        tls_scheduler_cert=cert, tls_scheduler_key=key, tls_worker_cert=cert, tls_worker_key=key,
    )  # fmt: skip


def _read_json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    if not isinstance(found, dict):
        raise ValueError(path)
    return found


def _wait_end(descriptor: int, patience: float) -> bool:
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(patience * 1000))


async def _serve(directory: str, host: str, port: int) -> None:
    security = security_of(_read_json(f"{directory}/tls.json"))
    async with Scheduler(
        host=host, port=port, protocol="tls", security=security, dashboard=False, allowed_failures=0
    ) as scheduler:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        about = {"address": scheduler.address, "id": scheduler.id, "pid": os.getpid()}
        files.replace(f"{directory}/scheduler.json", json.dumps(about).encode())
        alone_since = time.monotonic()
        while not stop.is_set() and time.monotonic() < alone_since + _ALONE:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _BEAT)
            if scheduler.workers or scheduler.clients.keys() - {"fire-and-forget"}:
                alone_since = time.monotonic()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
