"""Chromium without a network, driven over its DevTools protocol."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from harness.peers import program
from harness.process import Process
from shedproxy.testing import eventually

__all__ = ["Browser"]

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND"),
)
_COMPLAINTS = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}


class Browser(Process):
    """One tab for a `with` block, that remembers what pages asked for and complained of."""

    def __init__(self, home: Path) -> None:
        self._profile = home / "profile"
        port = ("--remote-debugging-port=0", f"--user-data-dir={self._profile}")
        super().__init__(
            "chromium", [program("chromium"), *_FLAGS, *port, "about:blank"], home=home
        )
        self._address = ""
        self._stack = ExitStack()
        self._socket: ClientConnection | None = None
        self._number = 0
        self.requested: list[str] = []
        """The address of every request since the page was opened, its own first."""
        self.complaints: list[dict[str, Any]] = []
        """Exceptions, console messages and log entries since then."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._socket = self._stack.enter_context(connect(self._address, max_size=None))
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.command(f"{domain}.enable")
            self.command(
                "Network.emulateNetworkConditions",
                offline=True,
                latency=0,
                downloadThroughput=0,
                uploadThroughput=0,
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        super().__exit__()

    def is_up(self) -> bool:
        port = int((self._profile / "DevToolsActivePort").read_text().split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
            tabs = [target for target in json.load(answer) if target["type"] == "page"]
        self._address = tabs[0]["webSocketDebuggerUrl"]
        return True

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give one command of the protocol and wait for its result."""
        assert self._socket is not None
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._remember(message)

    def _remember(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Network.requestWillBeSent":
            self.requested.append(event["params"]["request"]["url"])
        elif event.get("method") in _COMPLAINTS:
            self.complaints.append(event)

    def open(self, url: str, *, width: int = 1280, is_dark: bool = False) -> None:
        """Load a page anew and wait until that is done."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Page.navigate", url="about:blank")
        self.requested.clear()
        self.complaints.clear()
        self.command("Page.navigate", url=url)
        eventually(
            lambda: self.run("document.URL !== 'about:blank' && document.readyState") == "complete",
            what=f"{url} being loaded",
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        answer = self.command(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")
