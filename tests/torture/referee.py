"""A referee for jobs on several machines: they connect to it when they begin, and say when they end.

So there is one order of all of it, which depends on no clock and on no file system.

Whatever becomes of a job, its connection ends with it: by its own word, or cut, when it is killed or its machine dies.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter

LIMITED = "one."
"""What the ids of those jobs begin with of which one may run at a time."""
_JOB = (
    "exec 3<>/dev/tcp/{address}/{port}; echo began $QUEUECTL_JOB_ID $QUEUECTL_WORKER $QUEUECTL_ATTEMPT >&3; "
    "read -r -u 3 go; {text}; echo ended >&3; read -r -u 3 over"
)


class Referee:
    """Listens on a port of loopback."""

    def __init__(self) -> None:
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        """Attempts of each job that began, that said that they ended, and that were ended."""
        self.by_host: Counter[str] = Counter()
        self.problems: list[str] = []
        self.running: dict[str, str] = {}
        """The worker of each job that runs."""
        self.at_once = 0
        """Most jobs that ran at one time."""
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._listen, name="referee", daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def job(self, text: str, address: str = "127.0.0.1") -> list[str]:
        """A command that does this between beginning and ending, on a machine that reaches this one there."""
        return ["bash", "-c", _JOB.format(address=address, port=self.port, text=text)]

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            words = stream.readline().decode().split()
            if len(words) != 4 or words[0] != "began":
                return
            _, id, worker, _ = words
            self._begin(id, worker)
            has_ended = False
            try:
                stream.write(b"go\n")
                stream.flush()
                has_ended = stream.readline() == b"ended\n"
            except OSError:
                pass
            self._end(id, worker, has_ended=has_ended)
            if has_ended:
                stream.write(b"over\n")

    def _begin(self, id: str, worker: str) -> None:
        with self._lock:
            if id in self.running:
                self.problems.append(f"{id} runs twice at once: {self.running[id]}, {worker}")
            others = [other for other in self.running if other.startswith(LIMITED) and other != id]
            if id.startswith(LIMITED) and others:
                self.problems.append(f"{id} runs beside {' and '.join(others)}")
            self.running[id] = worker
            self.began[id] += 1
            self.by_host[worker.partition(".")[0]] += 1
            self.at_once = max(self.at_once, len(self.running))

    def _end(self, id: str, worker: str, *, has_ended: bool) -> None:
        with self._lock:
            (self.ended if has_ended else self.cut)[id] += 1
            if self.running.get(id) == worker:
                del self.running[id]
