"""Files that are not jobs: what tools, editors and mistakes leave in pending/."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

_GOOD = b'{"command": "echo hi", "id": "a1", "priority": 5, "env": {"A": "b"}}'

INCOMPLETE: dict[str, bytes] = {
    **{f"the first {size} bytes": _GOOD[:size] for size in range(len(_GOOD))},
    "blank": b" \n\t\n",
    "text": b"echo hi\n",
    "a string": b'"echo hi"',
    "a number": b"5",
    "null": b"null",
    "true": b"true",
    "an array": b"[]",
    "an array of a job": b'[{"command": "a"}]',
    "two objects": b'{"command": "a"}{"command": "b"}',
    "two lines": b'{"command": "a"}\n{"command": "b"}\n',
    "text behind": b'{"command": "a"} x',
    "NUL behind": b'{"command": "a"}\0',
    "a hole": b"\0" * 4096,
    "trailing comma": b'{"command": "a",}',
    "single quotes": b"{'command': 'a'}",
    "bare key": b'{command: "a"}',
    "comment": b'{"command": "a"} // now',
    "octal": b'{"command": "a", "priority": 010}',
    "hexadecimal": b'{"command": "a", "priority": 0x10}',
    "plus": b'{"command": "a", "priority": +1}',
    "bare newline": b'{"command": "a\nb"}',
    "bare NUL": b'{"command": "a\0b"}',
    "bad escape": b'{"command": "\\x41"}',
    "Latin-1": '{"command": "ä"}'.encode("latin-1"),
    "UTF-16": '{"command": "a"}'.encode("utf-16"),
    "UTF-16 BE": '{"command": "a"}'.encode("utf-16-be"),
    "UTF-16 LE": '{"command": "a"}'.encode("utf-16-le"),
    "UTF-32": '{"command": "a"}'.encode("utf-32"),
    "overlong": b'{"command": "\xc0\xaf"}',
    "surrogate as bytes": b'{"command": "\xed\xa0\x80"}',
    "cut character": b'{"command": "\xc3"}',
    "two BOMs": b'\xef\xbb\xbf\xef\xbb\xbf{"command": "a"}',
    "deep arrays": b'{"command": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "1 MiB and a byte": b'{"command": "a"}' + b" " * ((1 << 20) - 15),
    "2 MiB": b'{"command": "' + b"a" * (2 << 20) + b'"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
}
"""What does not parse as one object: more bytes may still come."""

_WRONG: dict[str, list[object]] = {
    "command": [None, "", "  ", 1, True, {}, [], [""], ["a", 1], [["a"]], "a\0b", ["a", "\0"], "\ud800", ["\udfff"],
                "x" * 120_001],
    "id": ["", " ", 5, True, [], {}, "a b", "a/b", "../a", ".a", "-a", "_a", "ä", "a\n", "a\0", "a" * 101],
    "priority": [-1, 1000, 1.0, "5", True, [], {}, 10**30],
    "run_at": ["", "tomorrow", "5m", "2026-13-01", "2026-13-01T00:00:00Z", "2026-11-25T25:00:00Z", 5, True, [],
               "9999-12-31T23:59:59Z", "1969-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00",
               "9999-12-31T23:59:59-14:00"],
    "timeout": [0, -1, "5", True, [], {}, 10**10, 10**400, -0.0],
    "max_retries": [-1, 1.5, "3", True, [], 10**6],
    "backoff_base": [-1, "2", True, [], 10**12],
    "backoff_max": [-0.5, "2", False, {}, 10**12],
    "cwd": ["", "relative", "./x", 5, True, [], "/a\0b", "/\ud800"],
    "env": ["A=b", [], 5, True, ["A=b"], {"A": 1}, {"A": None}, {"": "b"}, {"A=B": "c"}, {"A": "\0"},
            {"A\0": "b"}, {"A": "\ud800"}],
}  # fmt: skip

INVALID: dict[str, bytes] = {
    **{
        f"{field} {number}: {json.dumps(value)[:25]}": json.dumps({"command": "true", field: value}).encode()
        for field, values in _WRONG.items()
        for number, value in enumerate(values)
    },
    "empty object": b"{}",
    "no command": b'{"id": "x"}',
    "wrong case": b'{"Command": "a"}',
    "repeated key": b'{"command": "a", "command": "b"}',
    "repeated key inside": b'{"command": "a", "env": {"A": "1", "A": "2"}}',
    "repeated key by escape": b'{"command": "a", "\\u0063ommand": "b"}',
    "NaN": b'{"command": "a", "timeout": NaN}',
    "Infinity": b'{"command": "a", "x": Infinity}',
    "minus Infinity": b'{"command": "a", "x": [-Infinity]}',
    "too large for a float": b'{"command": "a", "timeout": 1e999}',
    "too large for a float of one's own": b'{"command": "a", "mine": [-1e999]}',
    "endless digits": b'{"command": "a", "timeout": ' + b"9" * 5000 + b"}",
    "endless digits of one's own": b'{"command": "a", "mine": [-' + b"9" * 5000 + b"]}",
    "nested 257 deep": b'{"command": "a", "mine": ' + b"[" * 256 + b"]" * 256 + b"}",
    "beyond Latin-1": '{"command": "a\u20ac", "charset": "latin-1"}'.encode(),
    "beyond Latin-1 in a variable": '{"command": "a", "env": {"\u20ac": ""}, "charset": "latin-1"}'.encode(),
    "surrogate in Latin-1": b'{"command": "\\udce9", "charset": "latin-1"}',
    "NUL in Latin-1": b'{"command": "\\u00e9\\u0000", "charset": "latin-1"}',
    "unknown charset": b'{"command": "a", "charset": "koi8-r"}',
}
"""What is complete and can never be a job."""


def _link_to_job(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    target.write_text('{"command": "true"}')
    path.symlink_to(target)


def _full_directory(path: Path) -> None:
    path.mkdir()
    (path / "job.json").write_text('{"command": "true"}')


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "link to a job": _link_to_job,
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a directory": lambda path: path.symlink_to("."),
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "empty directory": Path.mkdir,
    "full directory": _full_directory,
    "pipe": os.mkfifo,
    "socket": _socket,
}
"""What is not a regular file."""

NAMES: tuple[str, ...] = (
    "a b.json", "-.json", "--help.json", "ä.json", "日本.json", "x\ny.json", "x\r.json", "x\ty.json",
    "\x1b[31mred.json", "'; rm -rf x.json", "$(reboot).json", "`x`.json", "*.json", "~.json", "x.json.json", "x..json",
    "a" * 250 + ".json",
    "é" * 125 + ".json", os.fsdecode(b"\xff\xfe.json"),
    os.fsdecode(b"caf\xe9.json"), os.fsdecode(b"\xff" * 250 + b".json"),
    "010-20261399T034300.000Z-0-x.json", "010-20261124T034300.000Z-00-x.json",
    "010-20261124T034300.000Z-0-.json",
    "10-20261124T034300.000Z-0-x.json", "1-2-3-4.json", "-0-x.json",
    "\u202egpj.json", '"quoted".json', "back\\slash.json",
    "reason=x attempt=9.json", "#queuectl end attempt=1.json",
)  # fmt: skip
"""File names that are not ours and that some tool may choose."""
