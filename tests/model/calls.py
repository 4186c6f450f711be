"""The system calls that the model's steps stand for, and how a trace of real ones is read in the same words.

A *look* changes nothing that others see, an *effect* does. The code follows a path of the model if it makes the effects
of that path and no other, in that order, and each of its looks in its place among them. It may look more often: a kill
can come between any two calls anyway, and what is read once more is not acted upon by the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tests.model import rescue, shell, slot, user
from tests.model.job import Job
from tests.model.state import State

LOOKS = frozenset(
    {
        *("read job", "read log", "open log", "ask attempt", "ask others", "lstat running", "lstat pending"),
        *("look into /proc", "wait"),
    }
)
"""Opening a log takes nothing and shows nothing, if it is there."""

_ENDING = {
    "peek": ("read log",),
    "halt": ("stop",),
    "look": ("read log",),
    "resume": ("continue",),
    "note": ("write note",),
    "term": ("look into /proc", "term", "continue"),
    "kill": ("look into /proc",),
}
"""What is still there when its patience ends gets SIGKILL: in the paths that are compared nothing is."""

CALLS: dict[str, tuple[str, ...]] = {
    "slot.read": ("read job",),
    "slot.rename": ("rename pending running",),
    "slot.open": ("open log",),
    "slot.lock": ("lock attempt",),
    "slot.lstat": ("lstat running",),
    "slot.others": ("ask others",),
    "slot.ended": ("read log",),
    "slot.put_back": ("rename running pending",),
    "slot.find_others": ("look into /proc",),
    "slot.duplicate": ("read log",),
    "slot.refuse": ("rename running dead",),
    "slot.give_back": ("rename running pending",),
    "slot.fork": ("spawn",),
    "slot.waitid": ("wait",),
    "slot.terminate": ("look into /proc",),
    "slot.record_end": ("read log", "write end"),
    "slot.settle": ("rename running",),
    "slot.close": (),
    "rescue.find_orphans": (),
    "rescue.read_attempt": ("read log",),
    "rescue.continue_ended": ("continue",),
    "rescue.carries_token": ("look into /proc",),
    "rescue.is_locked": ("ask attempt",),
    "rescue.look_closer": ("look into /proc", "read log"),
    "rescue.end_rest": ("look into /proc", "term", "continue"),
    "rescue.read_again": ("read log",),
    "rescue.lost": ("look into /proc",),
    "rescue.note_end": ("lock attempt", "write end"),
    "rescue.finish": ("rename running",),
    "rescue.release": ("rename running pending",),
    "rescue.adopt": ("rename running running",),
    "rescue.cont": ("continue",),
    "rescue.adopted": ("wait",),
    "user.publish": ("rename tmp pending",),
    "user.keep": (),
    "user.cancel_look": ("read log",),
    "user.cancel": ("rename running dead",),
    "user.wait": ("ask attempt",),
    "user.wait_out": ("read log",),
    "user.last_look": ("read log",),
    "user.acknowledge": (),
    "user.record": ("rename",),
    "user.retry": ("rename",),
    "user.undo_lock": ("flock body",),
    "user.undo": ("rename",),
    "user.delete": ("lock all",),
    "user.delete_file": ("unlink job",),
    "user.delete_log": ("unlink log",),
    "user.lock_body": ("flock body",),
    "user.look_at": ("lstat pending",),
    "user.exchange": ("exchange tmp pending",),
    "user.look_back": ("lstat pending",),
    "user.exchange_back": ("exchange tmp pending",),
    "shell.forked": ("execve",),
    "shell.executed": ("write start",),
    "shell.running": ("write end",),
    "shell.said": ("exit",),
    "shell.children": ("exit",),
    "shell.daemon": ("exit",),
    "shell.killed": ("wait",),
    **{f"{who}.{phase}": calls for who in ("slot", "rescue", "user") for phase, calls in _ENDING.items()},
}
"""Of each step, in order. Where a name is shortened, it stands for all that begin with it."""

TRACED = (
    "openat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fcntl,flock,newfstatat,lstat,pread64,write,"
    "kill,tgkill,pidfd_send_signal,waitid,vfork,clone,clone3"
)
_OWN_LINES = re.compile(r"#queuectl (start|end|note ending)")
_SIGNALS = {"SIGSTOP": "stop", "SIGCONT": "continue", "SIGTERM": "term", "SIGKILL": "kill"}


def steps() -> set[str]:
    """All steps of the model, by the names of this table."""
    modules = (("slot", slot.STEPS), ("rescue", rescue.STEPS), ("user", user.STEPS), ("shell", shell.STEPS))
    found = {f"{name}.{step}" for name, table in modules for step in table}
    return {name if not name.startswith("user.record_") else "user.record" for name in found}


def path(model: Job, before: Sequence[str], patterns: Sequence[str], actor: str) -> list[str]:
    """The calls of one actor along a trace, which is given by patterns of its labels, without those of `before`."""
    state = model.initial()
    calls: list[str] = []
    for number, pattern in enumerate((*before, *patterns)):
        words = pattern.split("*")
        step = next((s for s in model.steps(state) if all(word in s.label for word in words)), None)
        if step is None:
            raise LookupError(f"no {pattern!r} among {[s.label for s in model.steps(state)]}")
        if number >= len(before) and step.label.startswith(f"{actor}:"):
            calls += CALLS[_step_of(state, step.state, actor)]
        state = step.state
    return calls


def _step_of(state: State, after: State, actor: str) -> str:
    """The step that the actor makes between two states; who waits and begins to end something makes the first phase."""
    who, step = _standing(state, actor)
    following = _standing(after, actor)[1]
    return f"{who}.peek" if step in ("wait", "waitid", "adopted") and following in ("halt", "look") else f"{who}.{step}"


def _standing(state: State, actor: str) -> tuple[str, str]:
    kind, number, *part = actor.replace(",", "").split()
    if kind == "user":
        step = state.users[int(number) - 1].step
        return "user", "record" if step.startswith("record_") else step
    worker = state.workers[int(number)]
    return ("slot", worker.slot.step) if part == ["slot"] else ("rescue", worker.look.step)


def read_trace(lines: Iterable[str], spool: str, first: int) -> list[str]:
    """The calls of a process with that first thread, in what `strace -f -y` wrote of it.

    Of those that failed only looks for processes count.
    """
    threads, unfinished = {first}, dict[int, str]()
    found: list[str] = []
    for line in lines:
        match = re.match(r"(\d+) +(.*)", line)
        thread, text = (int(match[1]), match[2]) if match else (first, line)
        if text.endswith("<unfinished ...>"):
            unfinished[thread] = text.removesuffix("<unfinished ...>").rstrip()
            if "vfork(" not in text and "CLONE_VFORK" not in text:
                continue
            text = unfinished.pop(thread) + " = 1"
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text):
            if thread not in unfinished:
                continue
            text = unfinished.pop(thread) + resumed[1]
        if "CLONE_THREAD" in text and (made := re.search(r"= (\d+)$", text)):
            threads.add(int(made[1]))
        elif thread in threads:
            word = _word(text, spool)
            has_failed = " = -1 " in text and word != "look into /proc"
            if word and not has_failed and (not found or found[-1] != word):
                found.append(word)
    return found


def _word(call: str, spool: str) -> str:
    """What a call is called here; empty for one that is none of ours."""
    name = call.split("(", 1)[0]
    places = re.findall(rf'"{re.escape(spool)}/(\w+)/[^"]*"', call)
    descriptor = re.search(rf"\(\d+<{re.escape(spool)}/(\w+)/", call)
    if name in ("vfork", "clone", "clone3"):
        return "spawn"
    if name.startswith("rename") and len(places) == 2:
        return f"{'exchange' if 'RENAME_EXCHANGE' in call else 'rename'} {places[0]} {places[1]}"
    if name == "openat":
        if re.search(r'"/proc/\d+/', call):
            return "look into /proc"
        is_directory = "O_DIRECTORY" in call or not places
        kinds = {"logs": "open log", "pending": "read job", "running": "read job", "tmp": ""}
        return "" if is_directory else kinds.get(places[0], "")
    if name in ("newfstatat", "lstat") and places and (name == "lstat" or "AT_SYMLINK_NOFOLLOW" in call):
        return f"lstat {places[0]}" if places[0] in ("running", "pending") else ""
    if name.startswith("unlink") and places:
        return {"logs": "unlink log", "tmp": "", "workers": ""}.get(places[0], "unlink job")
    if name == "fcntl" and (lock := re.search(r"(F_OFD_\w+), \{.*l_start=(\d+), l_len=(\d+)", call)):
        return _lock(lock[1], int(lock[2]), int(lock[3]))
    if name == "flock" and descriptor and descriptor[1] in ("pending", "dead"):
        return "flock body" if "LOCK_EX" in call else ""
    if name == "pread64" and descriptor and descriptor[1] == "logs":
        return "" if re.search(r", 1, \d+\)", call) else "read log"  # of one byte: does the last line end?
    if name == "write" and descriptor and descriptor[1] == "logs":
        line = _OWN_LINES.search(call)
        return f"write {line[1].removesuffix(' ending')}" if line else ""
    if "kill" in name or name == "pidfd_send_signal":
        return next((word for signal, word in _SIGNALS.items() if signal in call), "")
    return "wait" if name == "waitid" and "WNOHANG" not in call else ""


def _lock(command: str, start: int, length: int) -> str:
    if command == "F_OFD_GETLK":
        return "ask attempt" if start and length == 1 else "ask others" if start else ""
    return "lock attempt" if start else "lock all" if not length else "lock id"


def deviation(code: Sequence[str], model: Sequence[str]) -> str:
    """Where the code does not follow a path of the model; empty if it does."""
    wanted = list(model)
    for number, call in enumerate(code):
        if wanted and call.startswith(wanted[0]):
            del wanted[0]
            while wanted and wanted[0] in LOOKS and call == wanted[0]:
                del wanted[0]  # one look where the model has two steps
        elif call not in LOOKS:
            return f"{call!r} (call {number}) where the model has {wanted[:1] or 'nothing more'}"
    return f"the model continues with {wanted[0]!r}" if wanted else ""
