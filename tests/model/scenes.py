"""Scenes for the model of a job, small and large, and what shows that each decision of the protocol is needed."""

from __future__ import annotations

from typing import NamedTuple

from tests.model.protocol import HOST, Scene

SMALL = {
    "kill": Scene(("A", "A"), worker_kills=1),
    "kill, two namespaces": Scene(("A", "B"), worker_kills=1),
    "shell killed": Scene(("A", "A"), worker_kills=1, shell_kills=1),
    "host": Scene((HOST, "A"), worker_kills=1, shell_kills=1),
    "daemon for ever": Scene(("A", "B"), worker_kills=1, leaves_daemon=True, daemon_ends=False),
    "timeout": Scene(("A", "A"), worker_kills=1, timeouts=1, catches_sigterm=True),
    "stop": Scene(("A", "A"), worker_kills=1, stops=1, catches_sigterm=True),
    "cancel": Scene(("A",), cancels=1, user_kills=1, catches_sigterm=True),
    "cancel from elsewhere": Scene(("A",), users=("B",), cancels=1, catches_sigterm=True),
    "set": Scene(("A",), users=("A", "A"), user_kills=1, sets=2),
    "undo a retry": Scene(("A",), users=("A", "A"), retries=1, undos=1, sets=1, max_retries=0),
    "undo a cancel": Scene(("A",), users=("A", "A"), user_kills=1, cancels=1, undos=1, max_retries=0),
    "closed log": Scene(("A", "A"), worker_kills=1, closes_log=True),
    "full disk": Scene(("A", "A"), worker_kills=1, shell_kills=1, full=1),
    "reboot": Scene(("A", "A"), reboots=1, worker_kills=1),
}
"""Explored whole in the ordinary tests."""

LARGE = {
    "crashes": Scene(("A", "A", "B"), worker_kills=2),
    "shells": Scene(("A", "B"), worker_kills=1, shell_kills=1, leaves_daemon=True),
    "shells, stop": Scene(("A", "A"), worker_kills=1, shell_kills=1, stops=1),
    "full disk, stop": Scene(("A", "A"), worker_kills=1, full=1, stops=1),
    "full disk, cancel": Scene(("A", "B"), worker_kills=1, full=1, cancels=1, retries=1),
    "timeout and stop": Scene(("A", "A"), worker_kills=1, timeouts=1, stops=1, catches_sigterm=True),
    "timeout, two namespaces": Scene(("A", "B"), worker_kills=1, timeouts=1, shell_kills=1),
    "cancel, shell killed": Scene(("A", "B"), users=("B",), worker_kills=1, shell_kills=1, cancels=1, retries=1),
    "cancel killed": Scene(("A", "A"), worker_kills=1, cancels=1, retries=1, user_kills=1),
    "cancel and timeout": Scene(("A", "B"), cancels=1, retries=1, timeouts=1, catches_sigterm=True),
    "daemon": Scene(("A", "B"), users=("B",), cancels=1, leaves_daemon=True, daemon_ends=False),
    "closed log, cancel": Scene(("A", "A"), worker_kills=1, closes_log=True, cancels=1),
    "moved by hand": Scene(("A", "A"), worker_kills=1, moves=1),
    "moved and removed by hand": Scene(("A", "B"), worker_kills=1, moves=1, removes=1),
    "twin": Scene(("A", "A"), twins=1),
    "twin, killed": Scene(("A", "A"), twins=1, worker_kills=1, max_retries=0),
    "delete": Scene(("A", "A"), deletes=1, retries=1, cancels=1),
    "delete, twin": Scene(("A",), users=("B",), deletes=1, twins=1, cancels=1),
    "undo, killed": Scene(("A", "A"), worker_kills=1, retries=1, undos=1, max_retries=0),
    "undo and cancel": Scene(("A",), users=("A", "A"), cancels=1, retries=1, undos=1, max_retries=0),
    "cancel, retry and set": Scene(("A",), users=("A", "A"), cancels=1, retries=1, sets=1),
    "equal times": Scene(("A", "A"), equal_times=1, cancels=1, retries=1),
}
"""Of up to a million states."""


class Need(NamedTuple):
    """A scene in which the protocol without some decision breaks that invariant, behind a trace if one is given."""

    broken: str
    scene: Scene
    behind: tuple[str, ...] = ()


_SETS = Scene(("A",), users=("A", "A"), user_kills=1, sets=2)
_STOP = Scene(("A", "A"), worker_kills=1, stops=1)
_FOREVER = Scene(("A",), leaves_daemon=True, daemon_ends=False)
_RUN = ("publish", "keep", "claim: rename", "try_lock", "lstat", "others", "fork for", "execve", "run the command")
_DIED = (*_RUN, "kill -9 worker 1")
_ABANDONED = (*_RUN, "timeout of", "a start line", "SIGSTOP", "kill -9 worker 1", "mv running")

NEEDED = {
    "byte_per_attempt": Need("I6", _FOREVER),
    "claim_needs_lock": Need("I1", Scene(("A", "A"), twins=1, equal_times=1)),
    "claim_locks_before_lstat": Need("I3", Scene(("A",), cancels=1)),
    "claim_sees_others": Need("I1", Scene(("A", "B"), users=("B",), cancels=1, retries=1)),
    "claim_reads_their_ends": Need("I6", _FOREVER),
    "claim_ends_others": Need("I6", Scene(("A", "A"), worker_kills=1, timeouts=1, moves=1), _ABANDONED),
    "claim_knows_log": Need("I11", Scene(("A",), deletes=1, twins=1, cancels=1)),
    "claim_knows_its_time": Need("I5", Scene(("A",), equal_times=1)),
    "rescue_asks_lock": Need("I1", Scene(("A", "B"), worker_kills=1)),
    "rescue_reads_last": Need("I5", Scene(("A", "A"), worker_kills=1)),
    "rescue_begins_again": Need("I7", Scene(("A", "A"), worker_kills=1, closes_log=True)),
    "rescue_ends_own_only": Need("I7", Scene((HOST, "A"), worker_kills=1, shell_kills=1)),
    "adoption_continues": Need("I6", Scene(("A", "A"), worker_kills=1, timeouts=1)),
    "adoption_carries_out": Need("I5", _STOP),
    "starts_on_record": Need("I10", Scene(("A", "A"), worker_kills=1, shell_kills=1, full=1)),
    "boot_makes_lost": Need("I10", Scene(("A",), reboots=1)),
    "line_over_status": Need("I5", Scene(("A",), shell_kills=1)),
    "looks_before_kill": Need("I5", Scene(("A",), stops=1)),
    "kills_silent": Need("I6", _STOP),
    "stops_to_settle": Need("I6", Scene(("A", "A"), worker_kills=1, user_kills=1, cancels=1), _DIED),
    "settling_continues": Need("I6", Scene(("A", "A"), worker_kills=1, timeouts=1)),
    "notes_ending": Need("I9", Scene(("A", "A"), worker_kills=1, timeouts=1, catches_sigterm=True)),
    "ending_needs_last_word": Need("I1", Scene(("A", "B"), worker_kills=1, timeouts=1, catches_sigterm=True)),
    "cancel_looks_first": Need("I8", Scene(("A",), cancels=1)),
    "cancel_looks_last": Need("I8", Scene(("A",), users=("B",), cancels=1)),
    "cancel_needs_lock": Need("I3", Scene(("A",), cancels=1)),
    "set_locks_body": Need("I4", _SETS),
    "undo_locks_body": Need("I12", Scene(("A",), users=("A", "A"), cancels=1, undos=1, sets=1, retries=1)),
    "undo_knows_the_name": Need("I12", Scene(("A",), retries=1, undos=1)),
    "delete_locks_all": Need("I11", Scene(("A",), users=("B",), deletes=1, twins=1, cancels=1)),
}
"""For each decision of the protocol, what breaks without it."""
