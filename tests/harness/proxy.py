"""`shedproxy run` and `shedproxy app` as users start them."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.process import Process


class Shedproxy(Process):
    """A running shedproxy on ports that the kernel chose. `config` is the text of its TOML file."""

    def __init__(
        self,
        *upstreams: str,
        home: Path,
        config: str = "",
        arguments: Sequence[str] = (),
        app: str = "",
        listeners: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.config_file = home / "shedproxy.toml"
        self.config_file.write_text(config)
        command = ["app", app] if app else ["run", *upstreams]
        super().__init__(
            "shedproxy",
            [
                *(sys.executable, "-P", "-m", "shedproxy"),
                *command,
                f"--config={self.config_file}",
                *["--listen=127.0.0.1:0"] * listeners,
                "--control=127.0.0.1:0",
                *arguments,
            ],
            home=home,
            environ=environ,
        )
        self.ports: list[int] = []
        self.control_port = 0
        self.order_key = ""

    def is_up(self) -> bool:
        if not self.ports:
            for event in self.events("started"):
                self.ports = [int(where.rpartition(":")[2]) for where in event["listening"]]
                self.control_port = int(event["control"][0].rpartition(":")[2])
                self.order_key = event["order_key"]
        return bool(self.ports) and self.control("GET", "/readyz")[0] == 200

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    def events(self, name: str) -> list[dict[str, Any]]:
        """What its log says happened, of one kind."""
        lines = (line for line in self.text().splitlines() if line.startswith("{"))
        found = (json.loads(line) for line in lines if line.endswith("}"))
        return [event for event in found if event.get("event") == name]

    def control(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """One request to the control listener; orders with its key."""
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=10)
        try:
            headers = {"content-type": "application/json"} if method == "POST" else {}
            if method == "POST" and self.order_key:
                name, _, value = Path(self.order_key).read_text().partition(": ")
                headers[name] = value.strip()
            content = json.dumps(body or {}).encode() if method == "POST" else None
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Everything that `/-/status` shows."""
        code, body = self.control("GET", "/-/status")
        assert code == 200, body
        return json.loads(body)

    def cell(self, name: str = "default") -> dict[str, Any]:
        """One cell of the status."""
        return next(cell for cell in self.status()["cells"] if cell["name"] == name)

    @property
    def worker_pid(self) -> int:
        """The first worker's process."""
        return self.status()["workers"][0]["pid"]

    def is_idle(self) -> bool:
        """Whether nothing is in flight, waiting or resident in any cell."""
        counts = ("in_flight", "queue_length", "residents", "zombies", "control_in_flight")
        return not any(cell[count] for cell in self.status()["cells"] for count in counts)
