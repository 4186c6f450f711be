"""This host, for a spool that several share: its key, its memory, and what is noted of it on disk."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.errors import SpoolError
from queuectl.spool.system import host


def as_new_process() -> None:
    host._known.clear()


def test_host_is_who_shares_its_memory(shared: Spool, tmp_path: Path) -> None:
    """Processes find the key that the first one made; where the memory is another, so is the host."""
    own = host.here(shared.layout)
    assert re.fullmatch(host.NAME, own.name)
    as_new_process()
    assert host.here(shared.layout) == own
    as_new_process()
    os.rename(own.directory, tmp_path / "elsewhere")
    other = host.here(shared.layout)
    assert (other.spool_id, other.directory) == (own.spool_id, own.directory)
    assert other.name != own.name


def test_renewed_host_has_another_key(shared: Spool) -> None:
    """What was gone keeps its directory aside; who comes later finds the new one."""
    own = host.here(shared.layout)
    new = host.renewed(shared.layout)
    assert new.name != own.name
    as_new_process()
    assert host.here(shared.layout) == new
    assert os.path.isdir(f"{own.directory}.{own.name}")


@pytest.mark.parametrize("problem", ["mode", "link"])
def test_memory_of_others_is_refused(shared: Spool, tmp_path: Path, problem: str) -> None:
    """A directory that other users could have made is not this host's memory."""
    path = tmp_path / "MEMORY" / f"queuectl-{os.getuid()}"
    if problem == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "theirs")
    else:
        path.mkdir(mode=0o755)
    with pytest.raises(SpoolError, match="no memory for locks"):
        host.here(shared.layout)


def test_local_spool_has_no_host(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this is made for a spool that is not shared."""
    monkeypatch.setattr(host, "MEMORY", "/nowhere")
    assert host.of(spool.layout) is None


@pytest.mark.parametrize(
    ("changed", "is_found"),
    [({"boot_id": "another"}, True), ({}, False), ({"boot_id": "another", "name": "web9"}, False),
     ({"boot_id": "another", "cards": ["aa:bb"]}, False), ({"boot_id": ""}, False)],
)  # fmt: skip
def test_earlier_boot_of_this_machine_is_known(shared: Spool, changed: dict[str, object], is_found: bool) -> None:
    """By its note on disk, unless that was copied from another machine, or is of this boot."""
    before = host.here(shared.layout)
    (note,) = (Path(host.DISK) / f"queuectl-{os.getuid()}").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), **changed}))
    host.renewed(shared.layout)
    found = host.earlier(shared.layout)
    assert [each.host for each in found] == ([before.name] if is_found else [])
