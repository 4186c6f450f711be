"""The connection to a Dask cluster, by way of its scheduler. The only user of Dask's Client."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import Any

from distributed import Client
from distributed.security import Security

from queuectl.errors import SpoolError

_PATIENCE = 10.0  # seconds for an answer
Hear = Callable[[tuple[float, Any]], None]


class Cluster:
    """A scheduler that has answered. Thread-safe. What fails raises OSError or TimeoutError."""

    def __init__(self, on: str, security: Security | None = None) -> None:
        """`on` is the address of the scheduler, or the path of a scheduler file; without `security` one connects as
        Dask is configured.

        Raises SpoolError if there is none.
        """
        # Their own words on a lost connection: what matters is reported by the bridge.
        for name in ("distributed", "distributed.client", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        is_file = "://" not in on
        if is_file and not os.path.exists(on):
            hint = "start one: dask scheduler --scheduler-file FILE"
            raise SpoolError(f"there is no scheduler file {on}", hint=hint)
        where: dict[str, Any] = {"scheduler_file": on} if is_file else {"address": on}
        if security is not None:
            where["security"] = security
        try:
            self._client: Any = Client(  # type: ignore[no-untyped-call]
                **where, set_as_default=False, name="queuectl", timeout=_PATIENCE
            )
        except (OSError, TimeoutError, ValueError) as error:
            why = f"{error}".partition("\n")[0]
            raise SpoolError(f"no Dask scheduler answers at {on}", why, "start one: dask scheduler") from error
        self.address = str(self._client.scheduler.address)  # type: ignore[union-attr]
        self._connection = self._client.scheduler_comm

    def close(self, patience: float = _PATIENCE) -> None:
        """Leave the cluster: tasks that have not begun will not, those that have continue."""
        self._client.close(timeout=patience)

    def require(self) -> None:
        """Raises OSError if the connection is lost."""
        if not self.is_connected:
            raise OSError(errno.ENOTCONN, "the connection is lost")

    @property
    def is_connected(self) -> bool:
        """Whether it still is the first one. Dask connects again by itself, perhaps to another scheduler, and then has
        cancelled all tasks, and hears of no topic any more (distributed 2026.8)."""
        return self._client.status == "running" and self._client.scheduler_comm is self._connection

    def subscribe(self, topic: str, hear: Hear) -> None:
        """Call `hear` in the client's thread for each event of a topic."""
        self._client.subscribe_topic(topic, hear)

    def _sync(self, function: Any, *args: Any, **about: Any) -> Any:
        try:
            return self._client.sync(function, *args, **about, callback_timeout=_PATIENCE)
        except (RuntimeError, AttributeError) as error:  # the client is being closed
            raise OSError(errno.ENOTCONN, str(error)) from error

    def workers(self) -> dict[str, dict[str, Any]]:
        """What the scheduler says of each of its workers, by address."""
        found: dict[str, dict[str, Any]] = self._sync(self._client.scheduler.identity, n_workers=-1)["workers"]
        return found

    def run_on(self, address: str, function: Any) -> Any:
        """What a function returns on a Dask worker; or what it raised, or importing it did."""
        return self._sync(self._client._run, function, workers=[address], on_error="return").get(address)

    def ask(self, address: str, what: str, **about: Any) -> Any:
        """Ask the plugin on a Dask worker something."""
        message = {"op": "queuectl", "what": what, **about}
        broadcast = self._client.scheduler.broadcast
        answer = self._sync(broadcast, msg=message, workers=[address], on_error="ignore").get(address)
        if answer is None or (isinstance(answer, dict) and answer.get("status") == "uncaught-error"):
            raise OSError(errno.ENOTCONN, f"{address} does not answer")
        return answer

    def submit(self, address: str, function: Any, tasks: list[Any], keys: list[str], width: int, priority: int) -> Any:
        """The futures of tasks for that Dask worker alone, each with so many of its slots."""
        return self._client.map(
            function,
            tasks,
            key=keys,
            pure=False,
            retries=0,
            workers=[address],
            allow_other_workers=False,
            resources={"queuectl": width},
            priority=-priority,
        )
