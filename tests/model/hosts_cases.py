"""What is asked of the hosts: which readings break, by what trace, and what `Rules()` holds, trouble by trouble."""

from __future__ import annotations

from tests.model.hosts import Rules, model

BROKEN = (
    model("a counter in a file's content", Rules(beat="content"), gone="wrongly"),
    model("gone renames the beat that is there, not the one that was seen", Rules(gone="any"), gone="wrongly"),
    model("gone is done once and is no state", Rules(stays=False), gone="wrongly", is_pending=True),
    model("a host that is gone ends nothing when it returns", Rules(ends=False), gone="wrongly", job="never ends"),
    model("two settle what is lost directly, to one name", Rules(take="directly"), "power", gone="rightly", there="BC"),
    model("the mark of a host that is gone is removed", Rules(clears="too"), "stopped", gone="wrongly",
          job="never ends", is_pruned=True),
    model("who comes after that makes a beat that was there before", Rules(joins="before"), gone="wrongly",
          may_leave=True, is_pruned=True, later="a"),
)  # fmt: skip
SOUND = (
    model("a host claims when it is gone", Rules(), "power", gone="wrongly", is_pending=True),
    model("the host dies, gone is said", Rules(), "power", gone="rightly", there="BC"),
    model("a false gone", Rules(), gone="wrongly"),
    model("the worker is killed, another of its host adopts", Rules(), "kill -9", "power", gone="rightly", here="Aa"),
    model("the last worker leaves", Rules(), "power", gone="rightly", may_leave=True),
    model("a false gone while all is suspended", Rules(), "suspended", gone="wrongly"),
    model("the last worker leaves, its mark is removed, another begins", Rules(), gone="wrongly", may_leave=True,
          is_pruned=True, later="a", is_pending=True),
    model("the same, and the host dies", Rules(), "power", gone="rightly", may_leave=True, is_pruned=True, later="a",
          is_pending=True),
)  # fmt: skip
WIDE = (
    model("the host dies, gone is said, and one that takes dies too", Rules(), "power", gone="rightly", there="BC",
          crashes=1),
    model("a false gone, and one that takes dies too", Rules(), gone="wrongly", there="BC", crashes=1),
    model("a false gone, the workers stopped for a while", Rules(), "stopped", gone="wrongly", there="BC"),
    model("a false gone, all suspended for a while", Rules(), "suspended", gone="wrongly", there="BC"),
    model("a false gone, a job that never ends, the host dies", Rules(), "suspended", "power", gone="wrongly",
          job="never ends"),
)  # fmt: skip
"""With more of them at once."""


if __name__ == "__main__":
    import sys

    from tests.model import hosts_replies
    from tests.model.interleavings import search, show

    broken, sound = (*BROKEN, *hosts_replies.BROKEN), (*SOUND, *WIDE, *hosts_replies.SOUND)
    for models, expected in ((broken, "BROKEN"), (sound, "SOUND ")):
        for each in models:
            if not sys.argv[1:] or any(word in each.name for word in sys.argv[1:]):
                print(expected, show(search(each)), flush=True)
