"""A server in a process: started when it listens, stopped when it is left."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from shedproxy.testing import server_process
from shedproxy.testing.server_process import ServerProcess, free_port


def test_a_server_listens_while_entered_and_is_gone_after():
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
    with ServerProcess(command, env={"PYTHONUNBUFFERED": "1"}) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/") as answer:
            assert answer.status == 200
        pid = server.pid
        assert "GET /" in server.output
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_command_that_ends_at_once_is_reported_with_its_words():
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with pytest.raises(AssertionError, match="no such thing"), ServerProcess(command):
        pass


def test_a_command_that_never_listens_is_stopped():
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    server = ServerProcess(sleeper, within_s=0.3)
    with pytest.raises(AssertionError, match="start"):
        server.__enter__()
    assert server.stop() != 0


def test_ports_differ_and_are_none_that_the_kernel_hands_out():
    """A connection that somebody else makes meanwhile takes none of them."""
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert first < 21_000 or max(ports) < first


def test_a_port_in_use_is_passed_over(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        port = taken.getsockname()[1]
        monkeypatch.setattr(server_process, "_FIRST", port)
        monkeypatch.setattr(server_process, "_numbers", itertools.count(0))
        assert free_port() > port


def test_where_the_kernel_hands_out_all_ports_one_of_those_is_taken(monkeypatch):
    monkeypatch.setattr(server_process, "_FIRST", 65_535)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
