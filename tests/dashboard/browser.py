"""A real Chromium, driven through chromedriver's HTTP protocol (W3C WebDriver) with the standard library alone."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import wait_for

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
_ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


class Element:
    """An element of the page that is shown."""

    def __init__(self, browser: Browser, id: str) -> None:
        self.browser = browser
        self.id = id

    def __call__(self, script: str, *arguments: Any) -> Any:
        """Run a script with the element as `e`."""
        return self.browser.run(f"const e = arguments[0]; {script}", {ELEMENT: self.id}, *arguments)

    @property
    def text(self) -> str:
        return str(self("return e.innerText"))

    def click(self) -> None:
        """Click it where nothing that sticks to an edge of the window covers it."""
        self("e.scrollIntoView({block: 'center', behavior: 'instant'})")
        self.browser.ask("POST", f"/element/{self.id}/click", {})

    def type(self, text: str) -> None:
        self.browser.ask("POST", f"/element/{self.id}/value", {"text": text})


class Browser:
    """One window. What is asked of it fails the test with what the driver says."""

    def __init__(self, port: int, profile: str, *, dark: bool = False, scripts: bool = True) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options: dict[str, Any] = {"args": [*_ARGUMENTS, f"--user-data-dir={profile}"]}
        if dark:
            options["args"].append("--force-dark-mode")
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options}
        answer = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{answer['sessionId']}"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"].partition("\n")[0]) from None

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._send(method, self._session + path, body)

    def close(self) -> None:
        self.ask("DELETE", "")

    def go(self, address: str) -> Browser:
        self.ask("POST", "/url", {"url": address})
        return self

    def back(self) -> None:
        self.ask("POST", "/back", {})

    @property
    def address(self) -> str:
        return str(self.ask("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self.ask("GET", "/title"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, css: str) -> list[Element]:
        found = self.ask("POST", "/elements", {"using": "css selector", "value": css})
        return [Element(self, each[ELEMENT]) for each in found]

    def wait(self, css: str, text: str = "") -> Element:
        """The first element of that selector that shows the text, once there is one."""

        def look() -> Element | None:
            script = (
                "return [...document.querySelectorAll(arguments[0])]"
                ".find((e) => e.textContent.includes(arguments[1])) || null"
            )
            found = self.run(script, css, text)
            return Element(self, found[ELEMENT]) if found else None

        return wait_for(look, f"{css} with {text!r}")  # type: ignore[return-value]

    def press(self, keys: str) -> None:
        """Type keys to whatever has the focus."""
        actions = [
            step for key in keys for step in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})
        ]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def emulate(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int) -> None:
        self.emulate(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefer(self, theme: str, *, motion: str = "no-preference") -> None:
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.emulate("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.emulate("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def driver() -> Iterator[int]:
    """chromedriver on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = shutil.which("chromedriver")
    assert program is not None
    process = subprocess.Popen([program, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: _answers(port), "chromedriver")
        yield port
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def browser(port: int, **options: bool) -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(port, profile, **options)
        try:
            yield opened
        finally:
            opened.close()
