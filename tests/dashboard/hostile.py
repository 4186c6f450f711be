"""Text that has broken pages elsewhere, for every field that a job, a file name or a log can carry."""

from __future__ import annotations

import json
import os

from queuectl import Spool, State
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import Result
from tests.spool.given import NOW

CORPUS = (
    "<script>document.title='pwned'</script>",
    '"><img src=x onerror="document.title=\'pwned\'">',
    "'><svg onload=document.title='pwned'>",
    "</textarea></title></script><script>document.title='pwned'</script>",
    "javascript:document.title='pwned'",
    "{{__import__('os').getpid()}} % import os {{!1}} <% 1/0 %>",
    "&lt;b&gt; &#60;b&#62; ]]> --> <!--",
    "\u202e\u2066reversed\u2069 \u200b",
    "\x00\x01\x1b[31m\x1b]0;pwned\x07\r\n\t\x7f",
    "\ud800 half",
    "".join(f"a\u0300{chr(0x300 + n)}" for n in range(60)),
    "A" * 20_000,
)
MARKERS = ("<script>document", "<img src=x", "<svg onload", "\x00", "\x1b", "\u202e", "</textarea>")


def fill(spool: Spool) -> None:
    """A job for each text and state with the text in each field, logs full of it, and refused files of such names."""
    layout = spool.layout
    for number, text in enumerate(CORPUS):
        body = json.dumps({
            "command": f"true {text}", "cwd": f"/{text}", "env": {text: text}, text: text, "timeout": 5, "timout": text,
        })  # fmt: skip
        for state, name in (
            (State.PENDING, PendingName(10, NOW, 0, f"pending-{number}")),
            (State.RUNNING, RunningName(NOW, 10, 1, "web1.4242.k7f3", f"running-{number}")),
            (State.DONE, FinishedName(NOW, 10, 1, Result.exit(0), 5, f"done-{number}")),
            (State.DEAD, FinishedName(NOW, 10, 1, Result.exit(1), 5, f"dead-{number}")),
        ):
            with open(layout.job(state, name), "w") as file:
                file.write(body)
            start = f"#queuectl start attempt=1 worker={text}"
            log = f'{text}\n{start}\n{text}\n#queuectl refused file="{text}" reason="{text}"\n'
            with open(layout.log(name.id), "wb") as raw:
                raw.write(log.encode("utf-8", "surrogatepass"))
        refused = FinishedName(NOW, 10, 0, Result.parse("invalid"), 0, f"refused-{number}")
        with open(layout.job(State.DEAD, refused), "wb") as raw:
            raw.write(b'{"command": ' + text.encode("utf-8", "surrogatepass"))
        with open(layout.log(refused.id), "wb") as raw:
            quoted = text.replace("\n", " ").encode("utf-8", "surrogatepass")
            raw.write(b'#queuectl refused file="' + quoted + b'" reason="' + quoted + b'"\n')
    worker = {
        "worker": "web1.4242.k7f3",
        "host": CORPUS[0],
        "pid": CORPUS[1],
        "slots": CORPUS[2],
        "started_at": CORPUS[3],
        "version": CORPUS[4],
    }
    with open(layout.worker("web1.4242.k7f3"), "w") as file:
        json.dump(worker, file)
    for odd in (b"<img src=x onerror=1>.json", b"\xff\xfe.json", "\u202e.json".encode(), b"a\nb.json"):
        with open(os.path.join(os.fsencode(layout.pending), odd), "wb") as raw:
            raw.write(b"{")
