"""Whether several hosts share a spool: decided once, by the directory `hosts/`, and what differs then.

`init` makes that directory where the file system is one that several hosts can mount, or on request. A spool without it
is one host's, and pays one failed lookup for the question, when a process opens it. A shared spool differs in this:
locks in it prove nothing, so who lives is asked of the memory of each host; a reply to a rename can be lost, and what
stat(2) says may be old (`files.share`); changes by another host cause no events, so workers look.
"""

from __future__ import annotations

import os
import re

from queuectl.tuples import NamedTuple

NETWORK = re.compile(
    r"nfs4?|cifs|smb[23]?|smbfs|ceph|lustre|glusterfs|gpfs|beegfs|afs|ocfs2|gfs2?|pvfs2|orangefs|quobyte|weka\w*|wekafs"
    r"|fuse\.(glusterfs|ceph|ceph-fuse|lustre|beegfs|moosefs|mfs\w*|juicefs|JuiceFS|quobyte|seaweedfs|orangefs|sshfs|cephfs)"
)
"""The types of file systems that several hosts can mount."""
MAYBE = re.compile(r"9p|virtiofs|fuse\..*")
"""Those that virtual machines may share, or that are some program's: shared only if `init --shared` says so."""
UNFIT = {
    "cifs": "SMB",
    "smb": "SMB",
    "smb2": "SMB",
    "smb3": "SMB",
    "smbfs": "SMB",
    "fuse.sshfs": "sshfs",
    "afs": "AFS",
}
"""Types on which a rename or a hard link does not do what the spool needs, and what people call them."""

LEAST, MOST = 0.5, 10.0
"""Seconds between two looks of a worker that polls: while there is work, and when there has been none for long."""
AUTO = "auto"


class Mount(NamedTuple):
    """Where a file system is mounted, of what type it is, and with which options."""

    point: str
    kind: str
    options: frozenset[str]


def find_mount(path: str, table: str | None = None) -> Mount | None:
    """The mount that holds a path, which need not exist; None if the system has no table of mounts."""
    if table is None:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                table = file.read()
        except OSError:
            return None
    path = os.path.realpath(path)
    best = None
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 6 or len(kind) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and (best is None or len(point) >= len(best.point)):
            best = Mount(point, kind[0], frozenset((*fields[5].split(","), *kind[2].split(","))))
    return best


def can_be_shared(path: str) -> bool:
    """Whether a path is on a file system that several hosts can mount, by its type."""
    mount = find_mount(path)
    return mount is not None and NETWORK.fullmatch(mount.kind) is not None


def describe_poll(poll: object) -> str:
    """How a worker learns of changes, as its file has it: empty for events, `auto`, or seconds."""
    if poll == AUTO:
        return f"polls every {LEAST:g} to {MOST:g} s"
    return f"polls every {poll:g} s" if isinstance(poll, int | float) else ""
