"""What `enqueue` makes durable, and in which order: judged by its system calls alone, on any file system.

The bytes of every job must be synced before it gets its name in pending/, and pending/ itself before the id
is printed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support import environment

_CALLS = "openat,fsync,fdatasync,syncfs,link,linkat,rename,renameat,renameat2,write"
_STRACE = ("strace", "-f", "-y", "-s", "200", "-e", f"trace={_CALLS}")


def judge(home: Path, jobs: int = 1, start: Sequence[str] = ()) -> list[str]:
    """Enqueue some jobs under strace; what is wrong with the order of its calls."""
    trace, spool = home / "trace", home / "spool"
    program = start or (sys.executable, "-m", "queuectl")
    lines = "".join(json.dumps({"command": "true", "id": f"recipe{n}"}) + "\n" for n in range(jobs))
    done = subprocess.run(
        [*_STRACE, "-o", str(trace), *program, "--spool", str(spool), "enqueue", "-q", "-"],
        check=False,
        input=lines,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    if done.returncode:
        return [f"enqueue ended with {done.returncode}: {done.stderr}"]
    return _judge(trace.read_text(errors="replace").splitlines(), str(spool), jobs)


def _judge(calls: Sequence[str], spool: str, jobs: int) -> list[str]:
    problems: list[str] = []
    synced: set[str] = set()
    published: set[str] = set()
    is_all_synced = is_directory_synced = False
    acknowledged = 0
    for call in calls:
        if match := re.search(r"f(?:data)?sync\(\d+<([^>]*)>\) += 0", call):
            synced.add(match[1])
            is_directory_synced |= match[1] == f"{spool}/pending" and len(published) == jobs
        elif re.search(rf"syncfs\(\d+<{re.escape(spool)}[^>]*>\) += 0", call):
            is_all_synced = True
        elif match := re.search(r'(?:link|rename)\w*\(.*?"([^"]*)",.*?"([^"]*/pending/[^"]*)"', call):
            published.add(match[2])
            if match[1] not in synced and not is_all_synced:
                problems.append(f"{match[2]} was published before its bytes were synced")
        elif re.search(r'write\(1<[^>]*>, ".*recipe\d', call):
            acknowledged += 1
            if not is_directory_synced:
                problems.append("an id was printed before pending/ was synced")
    if len(published) != jobs:
        problems.append(f"{len(published)} of {jobs} jobs were seen to be published")
    if not acknowledged:
        problems.append("no id was seen to be printed")
    return problems
