"""The commands in the manifests for Kubernetes and in the Dockerfile do what is said beside them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from queuectl import Spool
from queuectl.work.notify import Ending
from tests.support import WorkerProcess, environment

CONTRIB = Path(__file__).parents[2] / "contrib"


def containers() -> Iterator[dict[str, Any]]:
    for name in ("queue", "dask"):
        for part in yaml.safe_load_all((CONTRIB / f"kubernetes/{name}.yaml").read_text()):
            yield from part["spec"].get("template", {}).get("spec", {}).get("containers", ()) if "spec" in part else ()


def container(name: str) -> dict[str, Any]:
    return next(each for each in containers() if each["name"] == name)


def run(words: list[str], spool: Spool, tmp_path: Path) -> int:
    """The exit code of a command of the image, whose queuectl is this one."""
    program = tmp_path / "bin" / "queuectl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m queuectl "$@"\n')
    program.chmod(0o755)
    paths = f"{program.parent}:{environment()['PATH']}"
    return subprocess.run(
        words, check=False, env=environment(PATH=paths, QUEUECTL_SPOOL=str(spool.path)), cwd=tmp_path
    ).returncode


def healthcheck() -> list[str]:
    text = (CONTRIB / "docker/Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (.*)$", text, re.MULTILINE)
    assert found is not None
    return [*json.loads(found[1])]


def test_pod_of_a_worker_is_healthy_while_it_lives_and_is_detached_at_its_end(spool: Spool, tmp_path: Path) -> None:
    """The checks of the pod and of the image say whether the worker lives; preStop ends it and leaves its jobs."""
    about = container("worker")
    probes = [about["livenessProbe"]["exec"]["command"], healthcheck()]
    assert all(run(probe, spool, tmp_path) != 0 for probe in probes)
    worker = WorkerProcess(Path(spool.path)).wait_ready()
    assert [run(probe, spool, tmp_path) for probe in probes] == [0, 0]
    assert run(about["lifecycle"]["preStop"]["exec"]["command"], spool, tmp_path) == 0
    assert worker.wait_exit() in (0, Ending.DETACHED)
    assert all(run(probe, spool, tmp_path) != 0 for probe in probes)


@pytest.mark.parametrize("about", [*containers()], ids=lambda about: str(about["name"]))
def test_options_of_a_container_exist(about: dict[str, Any]) -> None:
    """Each word that looks like an option is one of that program's."""
    words = [*about.get("command", ["queuectl"]), *about.get("args", ())]
    programs = {"queuectl": ["-m", "queuectl"], "dask": ["-m", f"distributed.cli.dask_{words[1]}"]}
    of_command = [word for word in words[1:3] if word in ("worker", "start", "dashboard")]
    command = of_command if words[0] == "queuectl" else []
    said = subprocess.run(
        [sys.executable, *programs[words[0]], *command, "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert [word for word in words if word.startswith("--") and word.partition("/")[0] not in said] == []
