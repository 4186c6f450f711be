"""Does to a spool what it is asked on stdin, a line of JSON each, and answers `ok` or `no ERROR`; in any container.

python tests/torture/hand.py HOME SPOOL

It is queuectl in one process that lives for long, since one for each command would take all the time. It rests at
random (`stretched`) and may be killed in the middle of anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from queuectl import Spool
from queuectl.errors import QueuectlError
from tests.torture import stretched


def _do(spool: Spool, verb: str, id: str, given: dict[str, Any]) -> None:
    if verb == "enqueue":
        spool.enqueue(**given)
    elif verb == "set":
        spool.set_fields(id, **given)
    elif verb == "cancel":
        spool.cancel(id, grace=0.2)
    else:
        getattr(spool, verb)(id)


def main() -> None:
    home, spool = Path(sys.argv[1]), Spool(sys.argv[2])
    stretched.stretch_anywhere(home)
    for line in sys.stdin:
        verb, id, given = json.loads(line)
        try:
            _do(spool, verb, id, given)
            answer = "ok"
        except QueuectlError as error:
            answer = f"no {type(error).__name__} {error}".replace("\n", " ")
        print(answer, flush=True)


if __name__ == "__main__":
    main()
