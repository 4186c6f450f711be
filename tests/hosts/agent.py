"""Runs in an emulated machine: starts each command that comes by TCP, and answers how it went. Standard library only.

A request is a line of JSON, `{"words": [...], "env": {...}, "stdin": "...", "stderr": PATH}`. The answer is a line with
the process's number, and, when that has ended, one of JSON with its code, its output and its errors.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading


def serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rwb") as stream, tempfile.TemporaryFile() as out:
        asked = json.loads(stream.readline())
        with open(asked["stderr"], "wb+") if asked["stderr"] else tempfile.TemporaryFile() as err:
            with tempfile.TemporaryFile() as given:
                given.write(asked["stdin"].encode())
                given.seek(0)
                process = subprocess.Popen(
                    asked["words"], stdin=given, stdout=out, stderr=err, env={**os.environ, **asked["env"]}, cwd="/"
                )
            stream.write(b"%d\n" % process.pid)
            stream.flush()
            code = process.wait()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
            stream.write(json.dumps({"code": code, "out": said[0], "err": said[1]}).encode() + b"\n")


def main() -> None:
    server = socket.create_server(("0.0.0.0", int(sys.argv[1])), backlog=100)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
