"""Ids of jobs for the completion of a shell, found without click, whose import takes as long as all else does."""

from __future__ import annotations

import os
from collections.abc import Mapping

COMMANDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("bundle", "explain", "graph", "logs", "show", "states", "wait"), ()),
    **dict.fromkeys(("edit", "first", "hold"), ("pending",)),
    "cancel": ("pending", "running"),
    "kill": ("running",),
    "release": ("pending", "done", "dead"),
    "retry": ("dead", "done"),
    "rm": ("done", "dead"),
}
"""The commands whose words are ids, and the states of the jobs that they take; of all jobs, if none is there."""
MOST = 200
"""How many ids a shell gets at most."""


def answer() -> bool:
    """Print the ids that the word at the cursor may become; False, and nothing is printed, if that is another question.

    A line with an option, a quote or anything else that has to be understood is left to `queuectl.cli.completion`.
    """
    if not os.environ.get("_QUEUECTL_COMPLETE", "").endswith("_complete"):
        return False
    _, *words = os.environ.get("COMP_WORDS", "").split(" ")
    if os.environ.get("COMP_CWORD") not in ("", None, str(len(words))) or len(words) < 2 or words[0] not in COMMANDS:
        return False
    *given, begun = words[1:]
    if not all(map(_is_plain, given)) or (begun and not _is_plain(begun)):
        return False
    print("".join(f"plain,{id}\n" for id in _ids(begun, COMMANDS[words[0]])), end="", flush=True)
    return True


def _is_plain(word: str) -> bool:
    """Whether that is all that an id may have, and no option."""
    return word.isascii() and word.translate(_MARKS).isalnum() and not word.startswith("-")


_MARKS = str.maketrans("-._", "000")


def _ids(begun: str, names: tuple[str, ...]) -> list[str]:
    """Those in the user's spool that begin so, of jobs in the states of these names."""
    from queuectl.core.result import State
    from queuectl.errors import QueuectlError
    from queuectl.spool.system import layout, listing

    try:
        path = layout.find()[0]
        if not layout.is_spool(path):
            return []
        where = layout.Layout(path)
        states = tuple(map(State, names)) or layout.STATES
        for state in states:
            if state is not State.RUNNING:  # of which there are few
                listing.begin(where.directory(state))  # to be read while the rest is imported
        from queuectl.spool.reading import query

        return query.some_ids(where, begun, states, MOST)
    except (QueuectlError, OSError):
        return []
