"""An HTTP client that can also say what no browser would."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.support import wait_for


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Keeps cookies, and finds the CSRF token of the pages it gets."""

    def __init__(self, port: int, prefix: str = "") -> None:
        self.port = port
        self.prefix = prefix
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, path: str = "/") -> str:
        return self.origin + self.prefix + path

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        """One request; header names are given with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies and "Cookie" not in given:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request(method, self.prefix + path, body, given)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
            for name, value in response.getheaders():
                if name == "Set-Cookie":
                    key, _, rest = value.partition("=")
                    self.cookies[key] = rest.partition(";")[0]
        finally:
            connection.close()
        found = re.search(rb'name="csrf" value="([0-9a-f]+)"', answer.body)
        if found:
            self.csrf = found[1].decode()
        return answer

    def get(self, path: str = "/", **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def open(self, path: str) -> Answer:
        """A page, once it shows a form that can be sent."""
        self.csrf = ""
        return wait_for(lambda: (answer := self.get(path)) and self.csrf and answer, f"a form on {path}")  # type: ignore[return-value]

    def post(self, path: str, form: Mapping[str, Any], **headers: str) -> Answer:
        """A form as one of our own pages would send it, unless the headers say otherwise."""
        assert self.csrf or "csrf" in form
        body = urlencode({"csrf": self.csrf, **form}, doseq=True)
        own = {"Origin": self.origin, "Content_Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, body, **{**own, **headers})

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)
