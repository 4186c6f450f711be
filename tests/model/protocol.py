"""What the model of a job's life is asked: which protocol, in which scene, and what must never come about.

`FULL` is the protocol of the code. Each field of `Protocol` is one decision of it, and leaving it out breaks an
invariant in a small scene (`scenes.NEEDED`): so none of them is there for nothing, and the model can fail.
"""

from __future__ import annotations

from typing import NamedTuple

HOST = "host"
"""The PID namespace from which the processes of all others can be seen, under other numbers."""

INVARIANTS = {
    "I1": "the command never runs twice at once",
    "I2": "the job is exactly one file",
    "I3": "an acknowledged cancel is not followed by the start of the cancelled attempt",
    "I4": "an acknowledged set is what runs next",
    "I5": "an attempt that has ended by itself is settled as its end line says",
    "I6": "while a worker lives, the job can still come to its end, and no process of it stays stopped",
    "I7": "a rescue does not end a job whose shell lives",
    "I8": "no cancel puts `cancelled` over a last result, on record when it began or when it is acknowledged",
    "I9": "an attempt that was ended is settled by why: `timeout`, released or `cancelled`, whatever it says then",
    "I10": "an attempt whose command has begun counts, unless a worker ended it",
    "I11": "no command runs with a log that has been deleted",
    "I12": "what is undone is what was done: no attempt and no acknowledged set since then is lost by it",
}


class Protocol(NamedTuple):
    """The decisions. The comment says what is done where a field is False."""

    byte_per_attempt: bool = True
    """Each attempt locks a byte of its own in the log. Else: all lock the same."""
    claim_needs_lock: bool = True
    """No attempt starts unless its worker has the lock. Else: it starts without."""
    claim_locks_before_lstat: bool = True
    """The claim locks, and then looks whether its file is still there. Else: the other way round."""
    claim_sees_others: bool = True
    """The claim asks for locks of other attempts. Else: it does not."""
    claim_reads_their_ends: bool = True
    """What holds such a lock is ignored if that attempt's end is on record. Else: the claim waits for it."""
    claim_ends_others: bool = True
    """A claim that waits ends the attempt that it waits for, if that is in no file any more. Else: it just waits."""
    claim_knows_log: bool = True
    """After the lock the claim looks whether its log still has a name. Else: it may be one that was deleted."""
    claim_knows_its_time: bool = True
    """Lines of an attempt of this very moment in the log: the claim waits. Else: it takes them for its own."""
    rescue_asks_lock: bool = True
    """An orphan whose lock is held lives. Else: one whose shell is not seen is over."""
    rescue_reads_last: bool = True
    """The log is read after the lock was seen free. Else: what was read before counts."""
    rescue_begins_again: bool = True
    """A start line that was not there at the first look: it looks again. Else: that attempt is lost."""
    rescue_ends_own_only: bool = True
    """Rescue ends what a killed shell has left only in its own PID namespace. Else: whatever it sees."""
    adoption_continues: bool = True
    """Adopting a job sends SIGCONT to its shell. Else: a shell that was stopped for a look stays stopped."""
    adoption_carries_out: bool = True
    """Who adopts an attempt that was being ended ends it. Else: it continues it."""
    starts_on_record: bool = True
    """A command is not run unless its start line was written, and the claim is given back. Else: it runs without."""
    boot_makes_lost: bool = True
    """Without a start line an attempt of an earlier boot is lost. Else: it counts as never started."""
    line_over_status: bool = True
    """The end that the shell wrote counts, also if it was killed before it had exited. Else: its status counts."""
    looks_before_kill: bool = True
    """To end a job: SIGSTOP its shell, look for its end line, and only then end it. Else: without a look."""
    stops_to_settle: bool = True
    """A shell is stopped only by who settles by what it has said, and not to cancel: nobody would continue it if who
    cancels died, and the order of note and end line decides. Else: it is stopped for that, too."""
    settling_continues: bool = True
    """Who settles by an end line sends SIGCONT to the shell. Else: a stopped one stays, and holds the lock."""
    kills_silent: bool = True
    """A shell that has not written its start line is killed at once. Else: it is stopped, as any other."""
    notes_ending: bool = True
    """Before SIGTERM a note in the log says why. Otherwise an end line before it looks like one after it."""
    ending_needs_last_word: bool = True
    """With that note, an attempt is over when one who saw all of it gone has said so. Else: when its shell says so."""
    cancel_looks_first: bool = True
    """A cancel first reads the log. Else: it renames at once."""
    cancel_looks_last: bool = True
    """A cancel reads the log again once the lock was seen free. Else: its last look is the one before the kill."""
    cancel_needs_lock: bool = True
    """A cancel is acknowledged when the lock was seen free. Else: when its patience ends, too."""
    set_locks_body: bool = True
    """Who changes a job locks the file that was read until it is exchanged. Else: it looks, and exchanges back."""
    undo_locks_body: bool = True
    """Who undoes a retry or a cancel locks the file, and looks that it is the same. Else: it does not look."""
    undo_knows_the_name: bool = True
    """Only what has the very name that was given to it is moved back. Else: the job, wherever it waits."""
    delete_locks_all: bool = True
    """Who deletes a job and its log locks all bytes. Else: it only looks whether the job's name is there."""


FULL = Protocol()


class Scene(NamedTuple):
    """Who takes part, and how often what may happen. A worker and a user are named by their PID namespace."""

    workers: tuple[str, ...]
    users: tuple[str, ...] = ("A",)
    worker_kills: int = 0
    shell_kills: int = 0
    user_kills: int = 0
    reboots: int = 0
    stops: int = 0
    timeouts: int = 0
    cancels: int = 0
    retries: int = 0
    undos: int = 0
    sets: int = 0
    moves: int = 0
    """`mv` of a running or finished job to pending/, by hand."""
    removes: int = 0
    """`rm` of a job's file."""
    twins: int = 0
    """A second file of the same id, put into pending/ by hand."""
    deletes: int = 0
    full: int = 0
    """A start line for which the disk has no room."""
    equal_times: int = 0
    """Claims at the very moment of another one."""
    max_retries: int = 1
    leaves_daemon: bool = False
    daemon_ends: bool = True
    catches_sigterm: bool = False
    """The job ends with exit 0 when it gets SIGTERM, and some process of it may ignore that."""
    closes_log: bool = False
    """The job has closed all its descriptors: it holds no lock and writes no line."""
