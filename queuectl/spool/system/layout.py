"""Where things are in a spool, how one is found, and how one is created."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from queuectl.core.result import State
from queuectl.errors import SpoolError, UsageError
from queuectl.lazy import Lazy

if TYPE_CHECKING:
    from queuectl.spool.system import files
else:
    files = Lazy("queuectl.spool.system.files")

STATES = tuple(State)
_OWN = ("tmp", "logs", "workers")
_AWAY = (errno.ENOTCONN, errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH)
_SHARED = ("asked", "hosts")
"""Of a spool that several hosts share. The last one is what makes it one."""

README = """\
This directory is a queuectl spool: a job queue made of files. A job is one JSON file; the directory it
is in is its state.

  pending/   jobs waiting     priority-run_at-attempts-id.json, in the order they will start
  running/   jobs running     started_at-priority-attempt-worker-id.json
  done/      succeeded        finished_at-priority-attempts-result-duration-id.json
  dead/      failed for good  the same names
  logs/      output           one file for each job, ID.log
  workers/   one file for each worker, locked while it lives
  tmp/       files being written
  inbox/     files that other users hand in; taken/ holds those being read; only with --drop-box
  after/     what waits for what: after/extract/load, while load waits for extract
  outbox/    what has become of these, by name, for their users to read
  groups/    settings of groups, each a file: groups/gpu/limit, groups/gpu/paused; see below
  schedules/ jobs again and again: schedules/nightly.json is one, and groups/nightly pauses it; see below
  unique/    which job has a key: a directory for each, made when the first job has one
  progress/  what running jobs report of themselves: a line each, if any
  hosts/     only if several hosts share the spool: which of them live; asked/ is what one asks of another
  worker.log what workers in the background report
  hooks/     on-done, on-retry, on-dead, on-idle: programs of yours to run on these events

Submit a job: write {"command": "echo hello"} to any file name ending in .json in pending/.
Retry one: mv dead/NAME pending/. Cancel one: rm pending/NAME. Hold one: give it a time in the year 9999.
Pause: touch paused (its text is the reason). Resume: rm paused.
A job is in every group that its id names before a dot: gpu.train.7 is in gpu and gpu.train.
Run at most two jobs of a group at a time: mkdir -p groups/gpu; echo 2 > groups/gpu/limit.
Give each its own of four cards: echo 4 > groups/gpu/seats; echo CUDA_VISIBLE_DEVICES > groups/gpu/seat-env.
Pause a group: touch groups/gpu/paused.
Run a job every night: write {"command": "./backup", "cron": "30 2 * * *", "timezone": "Europe/Vienna"} to
schedules/nightly.json (mkdir -p schedules). Each time becomes a job, nightly.20301001T0030Z, while a worker runs.
Never edit or rename files in running/, done/ and dead/.

The full specification of this format is spool/README.md in the source of queuectl.
"""

CONFIG = """\
# Settings of this spool. Change them here or with: queuectl config set KEY VALUE
# A setting that is not here has its default; to list them all: queuectl config list
"""


class Layout:
    """The paths of one spool, as text ready to be joined in hot code."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.pending, self.running = f"{root}/pending", f"{root}/running"
        self.tmp, self.logs, self.workers = f"{root}/tmp", f"{root}/logs", f"{root}/workers"
        self.inbox, self.taken, self.outbox = f"{root}/inbox", f"{root}/taken", f"{root}/outbox"
        self.config, self.paused = f"{root}/config.toml", f"{root}/paused"
        self.groups = f"{root}/groups"
        self.schedules = f"{root}/schedules"
        self.unique = f"{root}/unique"
        self.after = f"{root}/after"
        self.hosts, self.asked = f"{root}/hosts", f"{root}/asked"
        """Of a shared spool: which hosts live, and what is asked of the workers of another host."""
        self.progress_of_all = f"{root}/progress"
        self.worker_log = f"{root}/worker.log"
        """What the workers in the background report."""
        self.place = f"{root}/place"
        """Where the spool is, so that a copy can be recognised."""
        self.bell = f"{root}/pending/.bell"
        """A file that is created and removed to make workers check whether jobs of theirs have been taken away."""
        self.ballast = f"{root}/tmp/ballast"
        """A file without meaning that is given up when a full disk prevents settling a job."""

    def group(self, name: str) -> str:
        """The folder of a group's settings, if it has any."""
        return f"{self.groups}/{name}"

    @cached_property
    def shared(self) -> bool:
        """Whether several hosts share the spool: one look, when this is first asked."""
        is_shared = os.path.isdir(self.hosts)
        if is_shared:
            files.share(self.root)
        return is_shared

    @property
    def may_have_schedules(self) -> bool:
        return os.access(self.schedules, os.F_OK)

    def schedule(self, name: str) -> str:
        """The file of a schedule."""
        return f"{self.schedules}/{name}.json"

    def past(self, name: str) -> str:
        """The mark of a schedule: a time up to which its ticks are past."""
        return f"{self.schedules}/{name}.past"

    def held(self, group: str) -> str:
        """Where the locks of a group's seats are; may be a link."""
        return f"{self.groups}/{group}/held"

    def pause_of(self, group: str) -> str:
        """The file that pauses a group, or the whole queue, which is called ""."""
        return f"{self.groups}/{group}/paused" if group else self.paused

    def hook(self, event: str) -> str:
        """The program to run on such an event, if there is one."""
        return f"{self.root}/hooks/on-{event}"

    def edges(self, dep: str) -> str:
        """The folder of what waits for that job."""
        return f"{self.after}/{dep}"

    def directory(self, state: State) -> str:
        return f"{self.root}/{state}"

    def job(self, state: State, name: object) -> str:
        return f"{self.root}/{state}/{name}"

    def taken_file(self, id: str) -> str:
        """The file that was taken from inbox/ to become the job of that id."""
        return f"{self.root}/taken/{id}"

    def log(self, id: str) -> str:
        return f"{self.root}/logs/{id}.log"

    def progress(self, id: str) -> str:
        """The file in which a running job may say how far it is."""
        return f"{self.root}/progress/{id}"

    def worker(self, worker: str) -> str:
        return f"{self.root}/workers/{worker}.json"


def is_spool(root: str | os.PathLike[str]) -> bool:
    """Whether a directory is a spool: it holds the four state directories.

    Raises SpoolError if its file server does not answer: another spool must not be taken instead.
    """
    try:
        return all(stat.S_ISDIR(os.stat(f"{root}/{state}").st_mode) for state in STATES)
    except OSError as error:
        if error.errno in _AWAY:
            raise unusable(os.fspath(root), error) from error
        return False
    except ValueError:  # a name that no file can have
        return False


def create(root: str | os.PathLike[str], *, is_shared: bool | None = None) -> bool:
    """Create a spool, or complete one; whether anything was created. Directories 0700, files 0600.

    Several hosts may share it if `is_shared`, or, if that is None and it is new, if they can mount its file system.
    """
    root = os.path.abspath(root)
    try:
        if is_shared is None and not is_spool(root):
            from queuectl.spool.system import shared

            is_shared = shared.can_be_shared(root)
        os.makedirs(root, mode=0o700, exist_ok=True)
        made = _make_directories(root, (*_OWN, *(_SHARED if is_shared else ()), *STATES))
        for name, text in (("README.md", README), ("config.toml", CONFIG)):
            made |= _write_new(f"{root}/{name}", text)
        for path in (root, os.path.dirname(root)):
            files.sync_directory(path)  # so that the spool itself survives a power cut
    except OSError as error:
        raise unusable(root, error) from error
    return made


def remove_new(root: str) -> None:
    """Undo `create` of a spool that nobody has used; what holds anything else stays."""
    with suppress(OSError):
        for name in ("README.md", "config.toml"):
            files.remove(f"{root}/{name}")
        for name in (*_OWN, *(name for name in _SHARED if os.path.isdir(f"{root}/{name}")), *STATES, ""):
            os.rmdir(f"{root}/{name}")


def complete(root: str) -> None:
    """Create the directories that a spool made by hand, with only the four states, lacks."""
    if not all(os.path.isdir(f"{root}/{name}") for name in _OWN):
        try:
            _make_directories(root, _OWN)
        except OSError as error:
            raise unusable(root, error) from error


def _make_directories(root: str, names: Iterable[str]) -> bool:
    made = False
    for name in names:
        if not os.path.isdir(f"{root}/{name}"):
            os.mkdir(f"{root}/{name}", 0o700)
            made = True
    return made


def _write_new(path: str, text: str) -> bool:
    try:
        files.write_new(path, text.encode())
    except FileExistsError:
        return False
    return True


def discover(start: str | os.PathLike[str] | None = None) -> str | None:
    """The path of `spool/` in this or the nearest parent directory, if one of them is a spool."""
    here, inner = os.path.abspath(start or os.fsdecode(working_directory())), ""
    while here != inner:
        spool = os.path.join(here, "spool")
        if is_spool(spool):
            return spool
        here, inner = os.path.dirname(here), here
    return None


def working_directory() -> bytes:
    """The current directory; raises UsageError if it has been removed."""
    try:
        return os.getcwdb()
    except FileNotFoundError:
        raise UsageError("the current directory no longer exists", hint="cd to one that does") from None


def state_home_spool() -> str:
    """The fallback spool: `$XDG_STATE_HOME/queuectl/spool`. Raises UsageError for a user without a home."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # to be ignored, as the XDG Base Directory Specification has it
        state = f"{_home()}/.local/state"
    return f"{state}/queuectl/spool"


def _home() -> str:
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        import pwd

        with suppress(KeyError):
            home = pwd.getpwuid(os.getuid()).pw_dir
    if not os.path.isabs(home):
        raise UsageError("no spool here, and no home for one: $HOME is not set", hint="name one: queuectl --spool DIR")
    return home.rstrip("/")


def find() -> tuple[str, bool]:
    """Where the spool is that nobody names, and whether it is the one in the home, to be created when first needed:
    `$QUEUECTL_SPOOL`, else `discover`, else `state_home_spool`."""
    path = os.environ.get("QUEUECTL_SPOOL") or discover()
    return (path, False) if path else (state_home_spool(), True)


def hint_for(error: OSError) -> str:
    """What to do about a failed system call on the spool, or nothing."""
    hints = {
        errno.EACCES: "check the owner and mode of that directory",
        errno.EPERM: "check the owner and mode of that directory",
        errno.ENOSPC: "free some space or inodes and try again",
        errno.EDQUOT: "free some of your quota and try again",
        errno.EROFS: "it is on a read-only file system",
        errno.ENOTDIR: "it is not a directory",
        errno.ENOTCONN: "its file server does not answer",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    return hints.get(error.errno or 0, "")


def unusable(root: str, error: OSError) -> SpoolError:
    """The error to report for a failed system call on the spool."""
    where = error.filename if isinstance(error.filename, str) else root
    return SpoolError(f"cannot use the spool {root}", f"{where}: {error.strerror or error}", hint_for(error))
