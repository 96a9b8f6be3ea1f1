"""Asks URLs again and again, and prints how long each answer took, as JSON; ends with its stdin.

A process of its own, so that the load which a test makes in its own process does not delay it. One
thread and one connection per URL; a failure is any answer but 200, and any broken connection. Times
are without what this process and those of `--waits-of` wait for a processor: `harness/own_time`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import threading
from urllib.parse import urlsplit

from harness.own_time import own_time

PERIOD_S = 0.02


class Probe(threading.Thread):
    def __init__(self, url: str, pids: list[int], end: threading.Event) -> None:
        super().__init__()
        self.url = url
        self.pids = pids
        self.end = end
        self.took: list[float] = []
        self.failures: list[str] = []

    def run(self) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        while not self.end.wait(PERIOD_S):
            began = own_time(*self.pids)
            try:
                connection.request("GET", parts.path)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self.failures.append(repr(error))
            else:
                if answer.status != 200:
                    self.failures.append(f"status {answer.status}")
            self.took.append(own_time(*self.pids) - began)
        connection.close()

    def result(self) -> dict[str, object]:
        took = sorted(self.took)
        return {
            "count": len(took),
            "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 2) if took else None,
            "max_ms": round(took[-1] * 1000, 2) if took else None,
            "failures": len(self.failures),
            "first_failure": self.failures[0] if self.failures else "",
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--waits-of", type=int, nargs="*", default=[])
    options = parser.parse_args()
    end = threading.Event()
    probes = [Probe(url, options.waits_of, end) for url in options.urls]
    for probe in probes:
        probe.start()
    print("probing", flush=True)
    while os.read(0, 4096):
        pass
    end.set()
    for probe in probes:
        probe.join()
    print(json.dumps({urlsplit(probe.url).path: probe.result() for probe in probes}), flush=True)


if __name__ == "__main__":
    main()
