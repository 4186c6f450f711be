"""The scripts of spool/README.md, with ids and names that a careless pattern would confuse."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from tests.docs.markdown import ROOT, blocks
from tests.spool.given import pending_name, put, put_finished, running_name
from tests.support import names, need

CONFUSING = ("1", "x-1", "0-x-1", "x", "a-b-c-x", "a.b", "a-b", "axb", "1.json", "x-1.json", "x--x")


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    need(request.param)
    return str(request.param)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The directory that all scripts of the document were saved in."""
    directory = tmp_path / "scripts"
    directory.mkdir()
    for block in blocks((ROOT / "spool/README.md").read_text()):
        if block.language == "sh" and block.file:
            (directory / block.file).write_text(block.text)
    return directory


def run(shell: str, script: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QUEUECTL_SPOOL": str(cwd)}
    return subprocess.run(
        [shell, str(script), *words], check=False, cwd=cwd, capture_output=True, text=True, timeout=30, env=environment
    )


@pytest.mark.parametrize("state", State)
def test_path_of_finds_exactly_the_job_of_that_id(spool: Spool, scripts: Path, shell: str, state: State) -> None:
    """Also if other ids end in the same way; it fails for an id that the spool does not hold."""
    paths = {}
    for id in CONFUSING:
        if state is State.PENDING:
            path = put(spool.layout, pending_name(id), id=id)
        elif state is State.RUNNING:
            path = put(spool.layout, running_name(id), "true", State.RUNNING, id=id)
        else:
            path = put_finished(spool.layout, id, state=state, result="exit0" if state is State.DONE else "exit1")
        paths[id] = str(path.relative_to(spool.path))
    for id, path_of in paths.items():
        for words in ([id], [id, "pending", "running", str(state)]):
            found = run(shell, scripts / "path-of", *words, cwd=spool.path)
            assert (found.returncode, found.stdout) == (0, f"{path_of}\n")
    others = [str(other) for other in State if other is not state]
    for words in (["json"], ["b"], ["x-"], ["1", *others]):
        missing = run(shell, scripts / "path-of", *words, cwd=spool.path)
        assert (missing.returncode, missing.stdout) == (1, "")


def test_drop_never_replaces_a_file(spool: Spool, scripts: Path, shell: str, tmp_path: Path) -> None:
    """A file may be dropped often while no worker is there: each becomes a job, and nothing is left over."""
    source = tmp_path / "nightly.json"
    source.write_text(json.dumps({"command": "true"}))
    for _ in range(5):
        assert run(shell, scripts / "drop", str(source), cwd=spool.path).returncode == 0
    dropped = names(spool.path / "pending")
    assert len(dropped) == 5
    assert all(name.startswith("nightly-") and name.endswith(".json") for name in dropped)
    assert names(spool.path / "tmp") == []
    assert source.exists()
