"""A GlusterFS server on loopback and mounts of it, from nothing: no daemon of the system, no other network.

Each host works on a mount of its own, with caches of its own, as a client on another machine would. The volumes have
the caches that `gluster volume create` gives them (GlusterFS 10.3).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.support import wait_for

_SERVER = """\
volume posix
 type storage/posix
 option directory {brick}
end-volume
volume locks
 type features/locks
 subvolumes posix
end-volume
volume b
 type performance/io-threads
 subvolumes locks
end-volume
volume server
 type protocol/server
 option transport-type socket
 option transport.address-family inet
 option transport.socket.bind-address 127.0.0.1
 option transport.socket.listen-port {port}
 option auth.addr.b.allow 127.0.0.1
 subvolumes b
end-volume
"""
_CLIENT = """\
volume client
 type protocol/client
 option transport-type socket
 option transport.address-family inet
 option remote-host 127.0.0.1
 option remote-port {port}
 option remote-subvolume b
end-volume
"""
_CACHES = ("write-behind", "open-behind", "quick-read", "md-cache", "io-threads")
_LAYERS = ("cluster/distribute", "features/utime", *(f"performance/{name}" for name in _CACHES))


class Gluster:
    """The server; files in `root`, which must be on a local disk with extended attributes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mounts: dict[str, Path] = {}
        (root / "brick").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (root / "server.vol").write_text(_SERVER.format(brick=root / "brick", port=self.port))
        volumes, below = [_CLIENT.format(port=self.port)], "client"
        for layer in _LAYERS:
            name = layer.partition("/")[2]
            volumes.append(f"volume {name}\n type {layer}\n subvolumes {below}\nend-volume\n")
            below = name
        (root / "client.vol").write_text("".join(volumes))
        self.start()

    def start(self) -> None:
        """Start the server, again after `kill`."""
        self._run("glusterfsd", *self._files("server", "server"))
        wait_for(self._listens, "the file server")

    def kill(self) -> None:
        """kill -9 of the server: what is done on its mounts waits for the next start."""
        self._kill("server.pid")
        wait_for(lambda: not self._listens(), "the end of the file server")

    def wait_for_mounts(self) -> None:
        """Until each mount has found the server again, after `kill` and `start`."""
        for point in self.mounts.values():
            wait_for(partial(_is_answered, point), f"the mount {point}", 30)

    def mount(self, name: str) -> Path:
        """A mount for that host; its process is in the file `NAME.pid`."""
        point = self.root / name
        point.mkdir()
        self._run("glusterfs", *self._files("client", name), str(point))
        wait_for(lambda: os.path.ismount(point), f"the mount {point}")
        self.mounts[name] = point
        return point

    def client(self, name: str) -> int:
        """The process that serves a mount."""
        return int((self.root / f"{name}.pid").read_text())

    def close(self) -> None:
        """End all of it, and remove the files."""
        for name, point in self.mounts.items():
            with suppress(OSError, ValueError):
                os.kill(self.client(name), signal.SIGCONT)
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
            self._kill(f"{name}.pid")
        self._kill("server.pid")
        shutil.rmtree(self.root, ignore_errors=True)

    def _files(self, volume: str, name: str) -> list[str]:
        paths = {"-f": f"{volume}.vol", "-p": f"{name}.pid", "-l": f"{name}.log"}
        return [word for option, path in paths.items() for word in (option, str(self.root / path))]

    def _run(self, *words: str) -> None:
        done = subprocess.run(words, cwd=self.root, check=False, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"

    def _kill(self, file: str) -> None:
        with suppress(OSError, ValueError):
            pid = int((self.root / file).read_text())
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not Path(f"/proc/{pid}/cmdline").is_file() or not _text(pid), f"the end of {file}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _text(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _is_answered(point: Path) -> bool:
    with suppress(OSError):
        os.listdir(point)
        return True
    return False
