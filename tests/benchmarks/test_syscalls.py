"""Reading a trace."""

from __future__ import annotations

from benchmarks.syscalls import tally

TRACE = """\
10 clone3({flags=CLONE_VM|CLONE_THREAD|CLONE_SETTLS} => {parent_tid=[11]}, 88) = 11 <0.000040>
11 rename("a", "b") = 0 <0.000010>
11 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD}, 88 <unfinished ...>
12 execve("/bin/sh", ["sh"], NULL) = 0 <0.000200>
11 <... clone3 resumed>) = 12 <0.003000>
12 rename("c", "d") = -1 ENOENT (No such file or directory) <0.000005>
11 wait4(12, <unfinished ...>
12 exit_group(0) = ?
11 <... wait4 resumed>[{WIFEXITED(s)}], 0, NULL) = 12 <0.004000>
--- not a call ---
"""


def test_calls_are_distinguished_by_who_made_them() -> None:
    """Threads of the first process are the worker, its children are jobs; a call in two parts counts once."""
    assert tally(TRACE.splitlines(keepends=True)) == {
        ("worker", "clone3"): (2, 3040),
        ("worker", "rename"): (1, 10),
        ("worker", "wait4"): (1, 4000),
        ("job", "execve"): (1, 200),
        ("job", "rename"): (1, 5),
    }
