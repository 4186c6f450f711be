"""The machine: what it is, and how busy it is with other things."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0))
_TICK = os.sysconf("SC_CLK_TCK")
_BUSY_WITH_OTHERS = 0.06


def busy_seconds() -> float:
    """CPU seconds that the whole machine has spent on anything since it started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = (int(field) for field in file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICK


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a living process and of the children it has waited for; 0 if it is gone."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _TICK if fields else 0.0


def cpu_of_threads(pid: int) -> float:
    """CPU seconds of the living threads of a process, to the microsecond."""
    total = 0
    with suppress(FileNotFoundError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError):
                total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def wakeups_of(pid: int) -> int:
    """How often the threads of a process have gone to sleep of their own accord."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        total += _status(f"/proc/{pid}/task/{task}/status", "voluntary_ctxt_switches")
    return total


def memory_of(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MiB: now, and at most so far."""
    path = f"/proc/{pid}/status"
    return _status(path, "VmRSS") / 1024, _status(path, "VmHWM") / 1024


def available_memory() -> int:
    """Bytes that could be used without swapping."""
    return _status("/proc/meminfo", "MemAvailable") * 1024


def wait_until_calm(patience: float) -> None:
    """Return once others hardly use the machine, or after `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before, own, begun = busy_seconds(), time.process_time(), time.perf_counter()
        time.sleep(0.4)
        spent = busy_seconds() - before - (time.process_time() - own)
        if spent / ((time.perf_counter() - begun) * CORES) <= _BUSY_WITH_OTHERS:
            return


def kind() -> str:
    """What sort of machine this is, fit for a file name; no name of its own."""
    return f"{platform.system().lower()}-{platform.machine()}-{CORES}cpu"


def describe() -> dict[str, Any]:
    """All about this machine and the programs that a reader needs to judge figures by."""
    return {
        "kind": kind(),
        "cpu": _cpu_model(),
        "cores": CORES,
        "memory_gib": round(_status("/proc/meminfo", "MemTotal") / 1024**2, 1),
        "kernel": platform.release(),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(encoding="utf-8"),
        "shell": os.path.basename(os.path.realpath("/bin/sh")),
        "python": platform.python_version(),
        "click": metadata.version("click"),
        "watchdog": metadata.version("watchdog"),
        "commit": _commit(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")


def _commit() -> str:
    """The commit of the tree that is measured, with a `+` if the program differs from it."""
    root = Path(__file__).parent.parent
    if shutil.which("git") is None or not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "queuectl"], check=False, capture_output=True)
    return found.stdout.strip() + ("+" if changed.returncode else "")


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _status(path: str, key: str) -> int:
    """The number after `key:` in a file like /proc/PID/status; 0 if there is none."""
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    return 0


PYTHON = sys.executable
"""The interpreter that runs queuectl, and every Python floor."""
