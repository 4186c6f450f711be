"""Jobs from any tool that can write a file: each becomes one job that runs once, with what was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from tests.support import WorkerProcess, names, need, wait_for, workers

# Each runs in sh with $SRC, a job file, and $PENDING, and leaves that job in pending/ as drop.json.
PRODUCERS = {
    "redirection": 'cat "$SRC" >"$PENDING/drop.json"',
    "appending line by line": 'while IFS= read -r line; do echo "$line" >>"$PENDING/drop.json"; done <"$SRC"',
    "tee": 'tee "$PENDING/drop.json" <"$SRC" >/dev/null',
    "dd, byte by byte": 'dd if="$SRC" of="$PENDING/drop.json" bs=1 2>/dev/null',
    "cp": 'cp "$SRC" "$PENDING/drop.json"',
    "cp --reflink=never --preserve": 'cp --reflink=never --preserve "$SRC" "$PENDING/drop.json"',
    # These return to the file by its name when they have written it.
    "install": 'install -m 0600 "$SRC" "$PENDING/drop.json"',
    "rsync --inplace": 'rsync --inplace "$SRC" "$PENDING/drop.json"',
    "chmod, touch and test": (
        'cat "$SRC" >"$PENDING/drop.json"; chmod 600 "$PENDING/drop.json"; touch -r "$SRC" "$PENDING/drop.json";'
        ' test -s "$PENDING/drop.json"'
    ),
    "shutil.copy2": f'{sys.executable} -c \'import os, shutil; shutil.copy2(os.environ["SRC"], "drop.json")\'',
    "Ansible's copy": (
        'cp "$SRC" ../tmp/x; chmod 744 ../tmp/x;'
        f' {sys.executable} -c \'import os; os.rename("../tmp/x", "drop.json"); os.chmod("drop.json", 0o644)\';'
        " chmod 600 drop.json"
    ),
    "mv": 'cp "$SRC" "$PENDING/../tmp/x" && mv "$PENDING/../tmp/x" "$PENDING/drop.json"',
    "mv from another file system": 'cp "$SRC" "$ELSEWHERE/x" && mv "$ELSEWHERE/x" "$PENDING/drop.json"',
    "mv inside pending": 'cp "$SRC" "$PENDING/.drop.json" && mv "$PENDING/.drop.json" "$PENDING/drop.json"',
    "ln": 'ln "$SRC" "$PENDING/drop.json"',
    "rsync": 'rsync "$SRC" "$PENDING/drop.json"',
    "tar": 'cd "$(dirname "$SRC")" && cp "$SRC" drop.json && tar cf - drop.json | tar xf - -C "$PENDING"',
    "vim": 'vim.tiny -es -u NONE -c "w $PENDING/drop.json" -c q! "$SRC" </dev/null',
    "node": (
        'node -e \'const fs = require("fs");'
        ' fs.writeFileSync(process.env.PENDING + "/drop.json", fs.readFileSync(process.env.SRC))\''
    ),
    "perl": "perl -e 'local $/; open I, $ENV{SRC}; open O, \">$ENV{PENDING}/drop.json\"; print O <I>'",
}
NEEDED = {"rsync": "rsync", "rsync --inplace": "rsync", "vim": "vim.tiny", "node": "node", "perl": "perl"}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Spool, WorkerProcess]]:
    """A spool with a worker that all tests of this module share."""
    spool = Spool(tmp_path_factory.mktemp("producers") / "spool", create=True)
    with workers(spool.path) as (worker,):
        WorkerProcess.started.remove(worker)  # not to end with its first test
        yield spool, worker


@pytest.mark.parametrize("producer", PRODUCERS)
def test_dropped_job_runs_once(busy: tuple[Spool, WorkerProcess], tmp_path: Path, producer: str) -> None:
    """However the tool writes the file, one job runs, with the bytes that were written, and nothing is left over."""
    need(*([NEEDED[producer]] if producer in NEEDED else []))
    spool, worker = busy
    ledger, source = tmp_path / "ledger", tmp_path / "source"
    source.write_text(json.dumps({"command": f"echo ran >> {ledger}", "note": producer}, indent=1) + "\n")
    wanted = source.read_bytes()
    done = spool.counts().done
    with_paths = {
        **os.environ, "SRC": str(source), "PENDING": str(spool.path / "pending"), "ELSEWHERE": "/dev/shm",
    }  # fmt: skip
    subprocess.run(
        ["sh", "-ec", PRODUCERS[producer]], check=True, env=with_paths, timeout=30, cwd=spool.path / "pending"
    )
    wait_for(lambda: spool.counts().done > done, "the end of the job")
    wait_for(lambda: not names(spool.path / "pending"), "an empty pending/")
    assert ledger.read_text() == "ran\n"
    newest = spool.path / "done" / names(spool.path / "done")[-1]
    assert newest.read_bytes() == wanted
    assert newest.name.rsplit("-", 2)[1] == "drop"
    assert not [event for event in worker.events() if event["event"] in ("refused", "warning", "error")]


@pytest.mark.parametrize(
    "edit",
    [
        'sed -i "s/true/false/" "$1"',
        'vim.tiny -es -u NONE -c "set backup writebackup" -c "%s/true/false/" -c wq "$1" </dev/null',
        'sed "s/true/false/" "$1" >"$1.tmp" && mv "$1.tmp" "$1"',
        'x=$(sed "s/true/false/" "$1") && printf %s "$x" >"$1"',
    ],
    ids=["sed -i", "vim with a backup", "write and rename", "write in place"],
)
def test_waiting_job_can_be_edited(spool: Spool, edit: str) -> None:
    """An editor's save dance on a waiting job's file changes that job, and its leftovers are not jobs."""
    need(*(["vim.tiny"] if "vim" in edit else []))
    job = spool.enqueue("true", id="x", max_retries=0)
    (spool.path / "paused").touch()
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("paused"), "the pause")
        subprocess.run(["sh", "-ec", edit, "sh", job.path], check=True, timeout=30)
        (spool.path / "paused").unlink()
        ended = spool.wait("x", timeout=20)
        spool.enqueue("true", id="last", priority=999)
        spool.wait("last", timeout=20)
    assert (f"{ended.result}", ended.attempts) == ("exit1", 1)
    assert [name for name in names(spool.path / "pending") if name.endswith(".json")] == []
    assert (spool.counts().done, spool.counts().dead) == (1, 1)
