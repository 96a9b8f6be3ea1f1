"""A flood: so many connections that ask again as soon as they are answered, whatever the answer.

A process of its own, by `Flood` for a `with` block. It says how many answers it had, by status.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from types import TracebackType
from typing import Self, cast

import uvloop

__all__ = ["KINDS", "Flood", "main"]

KINDS = ("keep-alive", "connect")
"""Requests on connections that are kept, or each on a new one."""
_PAUSE_S = 0.01
_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


class Flood:
    """Floods `path` of a server on this host from entering the block until leaving it.

    `answered` is filled on leaving.
    """

    def __init__(
        self, port: int, path: str, *, kind: str, connections: int = 400, ahead: int = 1
    ) -> None:
        self._command = [
            sys.executable,
            "-m",
            "loadtests.flood",
            str(port),
            path,
            f"--kind={kind}",
            f"--connections={connections}",
            f"--ahead={ahead}",
        ]
        self.answered: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            self._process.communicate()
            raise RuntimeError("the flood did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        said, _ = self._process.communicate(timeout=10)
        self.answered = json.loads(said)


class _Caller(asyncio.Protocol):
    """One connection. `lost` is done when it has ended."""

    def __init__(self, request: bytes, ahead: int, counts: Counter[str]) -> None:
        self._request = request
        self._ahead = ahead
        self._counts = counts
        self._is_last = b"connection: close" in request
        self._transport: asyncio.Transport
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request * self._ahead)

    def data_received(self, data: bytes) -> None:
        answers = _STATUS.findall(data)
        self._counts.update(status.decode() for status in answers)
        if self._is_last:
            self._transport.abort()
        else:
            self._transport.write(self._request * len(answers))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


async def _keep_calling(port: int, request: bytes, ahead: int, counts: Counter[str]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            _, caller = await loop.create_connection(
                lambda: _Caller(request, ahead, counts), "127.0.0.1", port
            )
        except OSError:
            counts["0"] += 1
            await asyncio.sleep(_PAUSE_S)
            continue
        await caller.lost


async def _flood(chosen: argparse.Namespace) -> Counter[str]:
    counts: Counter[str] = Counter()
    lines = [f"GET {chosen.path} HTTP/1.1", "host: test"]
    if chosen.kind == "connect":
        lines.append("connection: close")
    request = "\r\n".join((*lines, "", "")).encode()
    tasks = [
        asyncio.create_task(_keep_calling(chosen.port, request, chosen.ahead, counts))
        for _ in range(chosen.connections)
    ]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    return counts


def main() -> None:
    """Flood until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.flood", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--kind", choices=KINDS, default=KINDS[0])
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--ahead", type=int, default=1, help="requests sent before an answer")
    print(json.dumps(uvloop.run(_flood(parser.parse_args()))))


if __name__ == "__main__":
    main()
