"""Who may ask and who may act: every request passes here before any page sees it.

Defences: a Host allow-list (DNS rebinding), a token where the bind is not loopback, GET and POST only, and for
POST the Origin, a CSRF token tied to the session's cookie, and the permission to act at all. Every answer
gets a policy that runs no script but ours. Cookies are opaque random text or a MAC: nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from queuectl.dashboard.attempts import Attempts
from queuectl.dashboard.server import Application

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SESSION = "queuectl_session"
CSRF_FIELD = "csrf"

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = (
    ("Content-Security-Policy", _CSP),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)
_OPEN_PATHS = ("/healthz", "/login", "/static/", "/favicon.svg")


@dataclass(frozen=True, slots=True)
class Policy:
    """What this dashboard allows. `hosts` are the names it answers to; `is_public` that it is not bound to loopback."""

    hosts: frozenset[str] = LOOPBACK
    is_public: bool = False
    may_act: bool = True
    token: str | None = None
    prefix: str = ""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    names: Mapping[str, str] = field(default_factory=dict)
    """Tokens with names, by name; `token` is one without."""
    max_wait: float | None = None
    """Seconds that a job may wait that could start; more is an alarm."""
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def tokens(self) -> dict[str, str]:
        """All tokens, by name."""
        return {**self.names, **({"token": self.token} if self.token is not None else {})}

    @property
    def auth_cookie(self) -> str:
        proofs = "".join(sorted(map(self.proof, self.tokens.values())))
        return f"queuectl_auth_{hashlib.sha256(proofs.encode()).hexdigest()[:8]}"

    def csrf(self, session: str) -> str:
        return hmac.new(self.secret, f"csrf:{session}".encode(), "sha256").hexdigest()

    def proof(self, token: str) -> str:
        """The cookie of a browser that has given that token; invalid once the token has changed."""
        return hmac.new(token.encode(), b"queuectl dashboard", "sha256").hexdigest()

    def name_of(self, text: str) -> str | None:
        """The name of the token that a text is; None if it is none."""
        given = text.encode("utf-8", "replace")
        return next((name for name, token in self.tokens.items() if hmac.compare_digest(given, token.encode())), None)

    def name_of_proof(self, text: str) -> str | None:
        """The name of the token of which a cookie is the proof."""
        given = text.encode("utf-8", "replace")
        proofs = ((name, self.proof(token).encode()) for name, token in self.tokens.items())
        return next((name for name, proof in proofs if hmac.compare_digest(given, proof)), None)

    def serves_host(self, host: str) -> bool:
        name = host_name(host)
        if name in self.hosts:
            return True
        return self.is_public and _is_address(name)  # an address cannot be rebound

    def accepts_origin(self, environ: dict[str, Any]) -> bool:
        """Whether a POST comes from one of our own pages."""
        if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
            return False
        origin = environ.get("HTTP_ORIGIN") or environ.get("HTTP_REFERER", "")
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        is_here = parts.netloc.lower() == environ["HTTP_HOST"].lower()
        return is_here or host_name(parts.netloc) in self.hosts - LOOPBACK


class DeniedError(Exception):
    """The request is refused with this status; the text says why."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([A-Za-z0-9._-]{1,253})(?::\d{1,5})?", host, re.ASCII)
    return (match[1] or match[2]).lower().rstrip(".") if match else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def cookies(environ: dict[str, Any]) -> dict[str, str]:
    """The cookies of a request, as plain text."""
    pairs = (part.strip().partition("=") for part in environ.get("HTTP_COOKIE", "").split(";"))
    return {name: value for name, _, value in pairs}


class Guard:
    """A WSGI application that passes on to another what the policy allows.

    It hands on, in the environment: `queuectl.user`, the name of the token, if there is one, `queuectl.session`,
    `queuectl.csrf`, and for a POST its checked `queuectl.form`, a dict of lists of text.
    """

    def __init__(self, app: Application, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        policy = self._policy
        extra = list(HEADERS)
        try:
            self._strip_prefix(environ)
            self._check_request(environ)
            if not self._is_known_user(environ):
                return self._ask_for_token(environ, start, extra)
            found = cookies(environ).get(SESSION, "")
            is_known = re.fullmatch(r"[0-9a-f]{32}", found, re.ASCII) is not None
            session = found if is_known else secrets.token_hex(16)
            if not is_known:
                extra.append(("Set-Cookie", cookie(policy, environ, SESSION, session)))
            environ["queuectl.session"] = session
            environ["queuectl.csrf"] = policy.csrf(session)
            if environ["REQUEST_METHOD"] == "POST":
                environ["queuectl.form"] = self._check_post(environ, session)
        except DeniedError as denied:
            return _say(start, denied.status, denied.text, extra)

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start(status, [*headers, *extra], exc_info)

        return self._app(environ, start_response)

    def _strip_prefix(self, environ: dict[str, Any]) -> None:
        """Whether the proxy in front passes the prefix on or not, pages see paths without it."""
        prefix, path = self._policy.prefix, environ["PATH_INFO"]
        if prefix and (path == prefix or path.startswith(prefix + "/")):
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, path[len(prefix) :] or "/"

    def _check_request(self, environ: dict[str, Any]) -> None:
        host = environ.get("HTTP_HOST", "")
        if not self._policy.serves_host(host):
            raise DeniedError(
                "421 Misdirected Request",
                f"This dashboard does not answer to the name {host_name(host) or '?'}.\n"
                "If that name is meant to reach it, start it with --allow-host NAME.\n",
            )
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD", "POST"):
            raise DeniedError("405 Method Not Allowed", "Only GET, HEAD and POST are supported.\n")

    def _check_post(self, environ: dict[str, Any], session: str) -> dict[str, list[str]]:
        if not self._policy.accepts_origin(environ):
            raise DeniedError("403 Forbidden", "This request does not come from a page of this dashboard.\n")
        if environ.get("CONTENT_TYPE", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise DeniedError("415 Unsupported Media Type", "Only forms are accepted.\n")
        try:
            data = environ["wsgi.input"].read().decode()
            form = parse_qs(data, keep_blank_values=True, max_num_fields=5000, errors="strict")
        except UnicodeDecodeError:
            raise DeniedError("400 Bad Request", "That form is not valid UTF-8.\n") from None
        except ValueError:
            raise DeniedError("400 Bad Request", "That form has too many fields.\n") from None
        given = form.get(CSRF_FIELD, [""])[0]
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._policy.csrf(session).encode()):
            raise DeniedError(
                "403 Forbidden", "This page is from before the dashboard was restarted: go back and reload it.\n"
            )
        if not self._policy.may_act and environ["PATH_INFO"] != "/login":
            raise DeniedError("403 Forbidden", "This dashboard is read-only.\n")
        return form

    def _is_known_user(self, environ: dict[str, Any]) -> bool:
        policy, path = self._policy, environ["PATH_INFO"]
        environ["queuectl.user"] = ""
        if not policy.tokens or any(
            path == each or (each[-1] == "/" and path.startswith(each)) for each in _OPEN_PATHS
        ):
            return True
        name = policy.name_of_proof(cookies(environ).get(policy.auth_cookie, ""))
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if name is None and scheme.lower() == "bearer":
            name = self._check_token(environ, given.strip())
        environ["queuectl.user"] = name or ""
        return name is not None

    def _check_token(self, environ: dict[str, Any], given: str) -> str | None:
        """The name of a token; raises DeniedError for who has given too many wrong ones."""
        attempts, address = self._policy.attempts, environ.get("REMOTE_ADDR", "")
        left = attempts.left(address)
        if left:
            raise DeniedError("429 Too Many Requests", f"Too many wrong tokens: try again in {left:.0f} s.\n")
        name = self._policy.name_of(given)
        if name is None:
            attempts.note_wrong(address)
        return name

    def _ask_for_token(
        self, environ: dict[str, Any], start: Callable[..., Any], extra: list[tuple[str, str]]
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        is_page = environ["REQUEST_METHOD"] == "GET" and "text/html" in environ.get("HTTP_ACCEPT", "")
        if is_page and not path.startswith("/api/"):
            wanted = path + (f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else "")
            target = f"{self._policy.prefix}/login?next={quote(wanted.encode('latin-1'), safe='')}"
            return _say(start, "303 See Other", "Log in first.\n", [*extra, ("Location", target)])
        extra.append(("WWW-Authenticate", 'Bearer realm="queuectl"'))
        return _say(start, "401 Unauthorized", "Give the token: Authorization: Bearer TOKEN\n", extra)


def cookie(policy: Policy, environ: dict[str, Any], name: str, value: str) -> str:
    """A Set-Cookie value that scripts cannot read and other sites cannot send."""
    is_https = environ.get("HTTP_X_FORWARDED_PROTO", "").lower() == "https"
    return f"{name}={value}; Path={policy.prefix or '/'}; HttpOnly; SameSite=Lax{'; Secure' if is_https else ''}"


def is_local_path(text: str) -> bool:
    """Whether a path to go to after a form leads only to this dashboard."""
    return re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text, re.ASCII) is not None


def _say(start: Callable[..., Any], status: str, text: str, headers: Iterable[tuple[str, str]]) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *headers])
    return [text.encode()]
