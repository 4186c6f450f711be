"""Hosts on a file system that they share: one server for all tests of a process, a spool and hosts for each test."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hosts.gluster import Gluster
from tests.hosts.host import Host
from tests.support import need, need_root

MakeHost = Callable[..., Host]


@pytest.fixture(scope="session")
def gluster() -> Iterator[Gluster]:
    """The file server, with the mounts `m1` and `m2`."""
    need_root()
    need("glusterfs", "glusterfsd", "unshare", "nsenter")
    server = Gluster(Path(tempfile.mkdtemp(prefix="queuectl-gluster-")))
    try:
        server.mount("m1")
        server.mount("m2")
        yield server
    finally:
        server.close()


@pytest.fixture
def make_host(gluster: Gluster, tmp_path: Path) -> Iterator[MakeHost]:
    """Starts a host by its name, on the mount of that name or number; all share one spool, which is new."""
    made: list[Host] = []
    where = uuid.uuid4().hex[:8]

    def make(name: str, mount: str = "m1", *, boot_id: str = "") -> Host:
        spool = gluster.mounts[mount] / where / "spool"
        home = tmp_path / f"{name}-{len(made)}"
        host = Host(home, name, spool, boot_id=boot_id)
        made.append(host)
        if len(made) == 1:
            spool.parent.mkdir()
            host.ok("init")
        return host

    try:
        yield make
    finally:
        for host in made:
            host.die()
        shutil.rmtree(gluster.root / "brick" / where, ignore_errors=True)


@pytest.fixture
def hosts(make_host: MakeHost) -> tuple[Host, Host]:
    """Two hosts, `web1` and `web2`, each on its own mount."""
    return make_host("web1", "m1"), make_host("web2", "m2")
