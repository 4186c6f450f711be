"""What `queuectl bundle` collects about jobs and their spool for a report of a bug, with secrets left out.

Everything in a bundle has passed `queuectl.core.secrets`; other jobs are not in it, but for how many there are.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from queuectl.core import secrets
from queuectl.core.job import Job
from queuectl.core.settings import as_text
from queuectl.core.text import printable
from queuectl.errors import QueuectlError
from queuectl.spool.reading import shapes
from queuectl.spool.reading.explain import Explanation
from queuectl.spool.system.layout import STATES, Layout
from queuectl.spool.system.settings import Found
from queuectl.spool.upkeep.doctor import examine

MOST = 1 << 20
"""Bytes of a log that a bundle holds: the first and the last half of them, if there are more."""
_LIBRARIES = ("click", "watchdog", "portalocker", "bottle")
_README = """\
What `queuectl bundle` has collected about {what}, for a report of a bug.

Left out, as "(left out)": the values of the job's variables, wherever they occur; values that belong to a name such
as "password" or "token"; credentials in addresses; keys of well-known forms. Look through it before you pass it on:
nothing can know every secret.

  versions.txt   versions of queuectl and of what it uses, and of the system
  names.txt      the spool's directories with how many files are in each, and the files of the job
  settings.txt   the settings in force, and where they come from
  doctor.txt     what `queuectl doctor` says
  ID/job.json    the job's file;  ID/show.json, ID/explain.json: what these commands print
  ID/log.txt     its log;         ID/worker-log.txt: what workers in the background have reported about it
"""


def collect(
    layout: Layout, found: Found, jobs: Sequence[Job], explain: Callable[[str], Explanation], version: str
) -> Iterator[tuple[str, str]]:
    """The name and text of each file of a bundle about these jobs of a spool, whose settings were `found`."""
    texts = [_read(str(job.path)) for job in jobs]
    bodies = [_parse(text) for text in texts]
    notify = found.settings.notify_url
    clean = secrets.cleaner([*secrets.values_in(bodies), *([notify] if notify else [])])
    ids = [job.id for job in jobs]
    yield "README.txt", _README.format(what=", ".join(ids) or "a spool")
    yield "versions.txt", clean(_lines(_versions(layout, version)))
    yield "names.txt", clean("".join(_names(layout, ids)))
    yield "settings.txt", clean(_lines(_settings(found)))
    yield "doctor.txt", clean(_lines(_doctor(layout, found, version)))
    for job, text, body in zip(jobs, texts, bodies, strict=True):
        yield f"{job.id}/job.json", clean(text) if body is None else _json(body, clean)
        yield f"{job.id}/show.json", _json(shapes.show(layout, job), clean)
        with suppress(QueuectlError):  # it may have been removed since
            yield f"{job.id}/explain.json", _json(explain(job.id).to_json(), clean)
        yield f"{job.id}/log.txt", clean(_read(layout.log(job.id)))
        reported = _read(f"{layout.root}/worker.log").splitlines(keepends=True)
        yield f"{job.id}/worker-log.txt", clean("".join(line for line in reported if job.id in line))


def _versions(layout: Layout, version: str) -> Iterator[tuple[str, str]]:
    yield "queuectl", version
    yield "python", f"{sys.version} at {sys.executable}"
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)
    yield "system", platform.platform()
    with suppress(OSError):
        yield "release", platform.freedesktop_os_release().get("PRETTY_NAME", "")
    yield "locale", f"{sys.getfilesystemencoding()}, output {sys.stdout.encoding}"
    yield "user", f"uid {os.geteuid()}, owner of the spool {os.stat(layout.root).st_uid}"
    yield "spool", layout.root
    yield "made at", datetime.now(UTC).isoformat(timespec="seconds")


def _settings(found: Found) -> Iterator[tuple[str, str]]:
    for key, (value, source) in found.values.items():
        text = secrets.LEFT_OUT if key == "notify-url" and value else as_text(value)
        yield key, f"{text}  ({source})"
    for error in (*found.wrong, *found.unknown):
        yield "problem", str(error)


def _doctor(layout: Layout, found: Found, version: str) -> Iterator[tuple[str, str]]:
    for check in examine(layout, found.settings.min_free, found.settings.allow_users or "", version):
        yield f"{check.health} {check.subject}", f"{check.found}  {check.advice}".rstrip()


def _names(layout: Layout, ids: list[str]) -> Iterator[str]:
    """How many files are in each directory; then those that belong to the jobs, as `ls -l` shows them."""
    mine: list[str] = []
    for directory in (*STATES, "tmp", "inbox", "taken", "logs", "progress", "workers", "groups", "hooks"):
        try:
            names = os.listdir(f"{layout.root}/{directory}")
        except OSError as error:
            yield f"{directory + '/':<10} {error.strerror}\n"
            continue
        yield f"{directory + '/':<10} {len(names)}\n"
        mine += [f"{directory}/{name}" for name in sorted(names) if _belongs(name, ids)]
    for name in ("paused", "resumed", "place", "config.toml", "worker.log"):
        if os.path.lexists(f"{layout.root}/{name}"):
            mine.append(name)
    yield "\n"
    for name in mine:
        with suppress(OSError):
            status = os.lstat(f"{layout.root}/{name}")
            at = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="milliseconds")
            yield f"{stat.filemode(status.st_mode)} {status.st_nlink} {status.st_uid}:{status.st_gid} "
            yield f"{status.st_size:>9} {at} {printable(name)}\n"


def _belongs(name: str, ids: list[str]) -> bool:
    return any(name in (id, f"{id}.log", f"{id}.json") or name.endswith(f"-{id}.json") for id in ids)


def _read(path: str) -> str:
    """The text of a file, without its middle if it is long; empty if it is not there."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= MOST:
                return file.read(MOST).decode("utf-8", "replace")
            first = file.read(MOST // 2)
            file.seek(-(MOST // 2), os.SEEK_END)
            left_out = f"\n... {size - MOST} bytes left out ...\n"
            return first.decode("utf-8", "replace") + left_out + file.read(MOST // 2).decode("utf-8", "replace")
    except OSError:
        return ""


def _parse(text: str) -> Any:
    """The value, or None if it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json(value: Any, clean: Callable[[str], str]) -> str:
    return json.dumps(secrets.without_secrets(value, clean), indent=2) + "\n"


def _lines(rows: Iterator[tuple[str, str]]) -> str:
    return "".join(f"{name:<18} {text}\n" for name, text in rows)
