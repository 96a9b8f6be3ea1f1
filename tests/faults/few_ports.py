"""Run in a network of its own: shedproxy with ten local ports for its upstream connections.

Clients come over a unix socket, so that the ports are the proxy's alone. Prints what they got.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from loadtests.keep_alive import Upstream

PORTS = (50_000, 50_009)
CLIENTS = 40


async def ask(path: str, target: str = "/slow/0.5") -> tuple[int, float]:
    began = time.perf_counter()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1]), time.perf_counter() - began


async def main(home: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    data = str(home / "data")
    async with Upstream() as upstream:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{PORTS[0]} {PORTS[1]}")
        command = [sys.executable, "-m", "shedproxy", "run", upstream.url, "--limit", "64"]
        process = subprocess.Popen(
            [*command, "--listen", f"unix:{data}", "--control", f"unix:{home}/control"], cwd=home
        )
        try:
            while not Path(data).exists():
                await asyncio.sleep(0.05)
            while (await ask(data, "/"))[0] != 200:
                await asyncio.sleep(0.05)
            answers = await asyncio.gather(*(ask(data) for _ in range(CLIENTS)))
            refusals = [took for status, took in answers if status != 200]
            deadline = time.perf_counter() + 20
            while (after := (await ask(data, "/"))[0]) != 200 and time.perf_counter() < deadline:
                await asyncio.sleep(0.05)
        finally:
            process.terminate()
            process.wait(20)
    statuses = Counter(status for status, _ in answers)
    print(
        json.dumps(
            {
                "ok": statuses[200],
                "statuses": {str(status): count for status, count in statuses.items()},
                "slowest_refusal_s": max(refusals, default=0.0),
                "after": after,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
