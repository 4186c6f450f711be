"""`queuectl dashboard`"""

from __future__ import annotations

import os
import re
import socket
import sys
from typing import Any

import click

from queuectl.cli.context import note, open_spool
from queuectl.core.when import parse_duration
from queuectl.errors import UsageError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="Port to listen on; 0 for any."
)
@click.option("--unix-socket", metavar="PATH", help="Listen on this Unix socket instead.")
@click.option("--socket-mode", metavar="MODE", default="600", show_default=True, help="Permissions of that socket.")
@click.option("--read-only", is_flag=True, help="Show everything, allow no changes.")
@click.option("--allow-actions", is_flag=True, help="Allow actions on a public address, with the token.")
@click.option("--token", metavar="TEXT", envvar="QUEUECTL_DASHBOARD_TOKEN", help="Require this token.")
@click.option(
    "--token-file",
    type=click.File(),
    metavar="FILE",
    help="Read tokens from this file, each line TOKEN or NAME TOKEN.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Answer to this host name too.")
@click.option("--max-wait", metavar="TIME", help="Raise an alarm when a job that could start waits longer.")
@click.option("--prefix", default="", metavar="PATH", help="Path at which a reverse proxy serves it.")
def dashboard(**given: Any) -> None:
    """Show the queue as a live page in a browser.

    It is at http://127.0.0.1:5000 by default, until stopped. Any address but
    the loopback requires a token and is read-only, unless --allow-actions is
    given.

    \b
    Example:
      queuectl dashboard
      queuectl dashboard --host 0.0.0.0 --token-file token.txt
    """
    import signal

    from queuectl.dashboard import app, server
    from queuectl.dashboard.snapshot import Snapshot

    policy = _policy(given)
    spool = open_spool(create=True)
    if given["unix_socket"]:
        sock = server.listen_unix(given["unix_socket"], _mode(given["socket_mode"]))
    else:
        sock = server.listen(given["host"], given["port"])
    sys.setswitchinterval(0.001)  # reading a large spool must not keep requests waiting
    snapshot = Snapshot(spool)
    if snapshot.problem:
        note(f"no events from the file system, so changes appear some seconds later: {snapshot.problem}")
    running = server.Server(app.make(spool, policy, snapshot), sock)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.stop())
    try:
        running.serve(lambda: _say_where(given, policy, sock))
    finally:
        snapshot.close()
        if given["unix_socket"]:
            os.unlink(given["unix_socket"])


def _policy(given: dict[str, Any]) -> Any:
    """What the options allow; raises UsageError for what would be unsafe."""
    from queuectl.dashboard.security import LOOPBACK, Policy, host_name

    names = _read_tokens(given["token_file"])
    token = given["token"] or names.pop("", None)
    if given["token_file"] and not token and not names:
        raise UsageError("the token file is empty", hint="put a long random line into it")
    is_public = not given["unix_socket"] and not _is_loopback(given["host"])
    if is_public and not token and not names:
        raise UsageError(
            f"{given['host']} can be reached from outside",
            "anyone who can connect could read every command and log",
            "add --token-file FILE, or keep the default --host",
        )
    prefix = given["prefix"].rstrip("/")
    if prefix and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", prefix):
        raise UsageError(f"not a path: {given['prefix']!r}", hint="try --prefix /queue")
    own = {socket.gethostname().lower(), given["host"].lower()} if is_public else set()
    return Policy(
        hosts=frozenset({*LOOPBACK, *own, *(host_name(host) for host in given["hosts"])} - {""}),
        is_public=is_public,
        may_act=not given["read_only"] and (not is_public or given["allow_actions"]),
        token=token,
        prefix=prefix,
        names=names,
        max_wait=None if given["max_wait"] is None else parse_duration(given["max_wait"]),
    )


def _read_tokens(file: Any) -> dict[str, str]:
    """The tokens of a file by their names; "" for the one without. Raises UsageError for two of one name."""
    found: dict[str, str] = {}
    for line in (line.split() for line in file or ()):
        if not line:
            continue
        name, token = ("", line[0]) if len(line) == 1 else (line[0], line[1])
        if len(line) > 2 or name in found:
            raise UsageError(
                f"the token file has {'a line of three words' if len(line) > 2 else 'two tokens of one name'}",
                hint="each line is TOKEN, or NAME TOKEN",
            )
        found[name] = token
    return found


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise UsageError(f"not a mode: {text!r}", hint="try --socket-mode 660")
    return int(text, 8)


def _say_where(given: dict[str, Any], policy: Any, sock: socket.socket) -> None:
    if given["unix_socket"]:
        where = given["unix_socket"]
    else:
        host, port = sock.getsockname()[:2]
        where = f"http://{f'[{host}]' if ':' in host else host}:{port}{policy.prefix}/"
    how = "" if policy.may_act else " (read-only)"
    note(f"the dashboard is at {where}{how}; stop it with Ctrl-C")
