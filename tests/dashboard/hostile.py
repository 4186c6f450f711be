"""Text that has broken pages elsewhere, for every field that a job, a file name or a log can carry."""

from __future__ import annotations

import json
import os
from pathlib import Path

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
MARKERS = ("<script>document", "<img src=x", "<svg onload", "\x00", "\x1b", "\u202e", "</textarea></title>")


def _fill_around(spool: Spool, number: int, text: bytes) -> None:
    """What stands beside jobs: a group, a schedule, a key, what a job waits for, and what one says of its progress."""
    layout = spool.layout
    group = Path(layout.group(f"g{number}"))
    group.mkdir(parents=True)
    for file in ("limit", "max-failed", "seats", "seat-env", "timeout", "paused", "odd"):
        (group / file).write_bytes(b"reason: " + text if file == "paused" else text)
    Path(layout.schedules).mkdir(exist_ok=True)
    shown = text.decode("utf-8", "replace")
    for kind, body in (
        ("right", {"command": f"true {shown}", "cron": "30 2 * * *"}),
        ("zone", {"command": "true", "cron": "30 2 * * *", "timezone": shown}),
        ("cron", {"command": "true", "cron": shown}),
        ("extra", {"command": "true", "every": "15m", shown: shown}),
    ):
        Path(layout.schedule(f"{kind}{number}")).write_text(json.dumps(body))
    Path(layout.schedule(f"torn{number}")).write_bytes(b'{"command": ' + text)
    for id, field in ((f"g{number}.keyed", {"unique": shown}), (f"g{number}.after", {"after": [shown, "x"]})):
        name = PendingName(10, NOW, 0, id)
        Path(layout.job(State.PENDING, name)).write_text(json.dumps({"command": "true", **field}))
    Path(layout.progress("x")).parent.mkdir(exist_ok=True)
    Path(layout.progress(f"running-{number}")).write_bytes(text)


def fill(spool: Spool) -> None:
    """A job for each text and state with the text in each field, logs full of it, and refused files of such names."""
    layout = spool.layout
    for number, text in enumerate(CORPUS):
        body = json.dumps({
            "command": f"true {text}", "cwd": f"/{text}", "env": {text: text}, text: text, "timeout": 5, "timout": text,
            "params": {text: text}, "submitted_by": text,
        })  # fmt: skip
        right = json.dumps({"command": f"true {text}", "env": {"V": text}, "params": {"p": text}, text: text})
        for state, name in (
            (State.PENDING, PendingName(10, NOW, 0, f"pending-{number}")),
            (State.RUNNING, RunningName(NOW, 10, 1, "web1.4242.k7f3", f"running-{number}")),
            (State.DONE, FinishedName(NOW, 10, 1, Result.exit(0), 5, f"done-{number}")),
            (State.DEAD, FinishedName(NOW, 10, 1, Result.exit(1), 5, f"dead-{number}")),
        ):
            with open(layout.job(state, name), "w") as file:
                file.write(right if state in (State.PENDING, State.DONE) else body)
            start = f"#queuectl start attempt=1 worker={text}"
            in_quotes = f'"{text}"'
            notes = "".join(
                f"#queuectl {note}\n"
                for note in (
                    f"note asked attempt=1 at={text} action={text} by={in_quotes}",
                    f"note edited at={text} fields={in_quotes}",
                    f"note sent attempt=1 started_at={text} to={in_quotes} process={in_quotes}",
                    f"note used attempt=1 max_rss=1 cpu_user=1 cpu_system={text} waited={text}",
                    f"retry at={text} was={text}",
                )
            )
            log = f'{text}\n{start}\n{text}\n{notes}#queuectl refused file="{text}" reason="{text}"\n{text}\n'
            with open(layout.log(name.id), "wb") as raw:
                raw.write(log.encode("utf-8", "surrogatepass"))
        refused = FinishedName(NOW, 10, 0, Result.parse("invalid"), 0, f"refused-{number}")
        with open(layout.job(State.DEAD, refused), "wb") as raw:
            raw.write(b'{"command": ' + text.encode("utf-8", "surrogatepass"))
        with open(layout.log(refused.id), "wb") as raw:
            quoted = text.replace("\n", " ").encode("utf-8", "surrogatepass")
            raw.write(b'#queuectl refused file="' + quoted + b'" reason="' + quoted + b'"\n')
        _fill_around(spool, number, text.encode("utf-8", "surrogatepass"))
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
