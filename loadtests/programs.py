"""Programs of a load test: started, ended, and asked where they listen."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SHEDPROXY", "Program"]

SHEDPROXY = (sys.executable, "-m", "shedproxy")


class Program:
    """A program that says where it listens, in its log.

    Args:
        home: its folder, where the log is, too.
        name: of the log.
        command: what to run.
    """

    def __init__(self, home: Path, name: str, command: Sequence[str]) -> None:
        self._home = home
        self._log = home / f"{name}.log"
        self._command = [*command]
        self.start()

    def start(self) -> None:
        """Run it, once more with an empty log."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._home, stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )

    async def listening(self, within_s: float = 30.0) -> str:
        """Its address, as soon as it has one."""
        give_up_at = time.perf_counter() + within_s
        while time.perf_counter() < give_up_at:
            for line in self.log().splitlines():
                event = json.loads(line) if line.startswith("{") and line.endswith("}") else {}
                if event.get("event") == "started":
                    found = event["listening"]
                    return found if isinstance(found, str) else found[0]
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise SystemExit(f"it does not start: {self.log()}")

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ask it to end, and wait."""
        self._process.terminate()
        self._process.wait()
