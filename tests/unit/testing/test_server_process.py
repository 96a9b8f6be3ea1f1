"""A server in a process: started when it listens, stopped when it is left."""

from __future__ import annotations

import os
import sys
import urllib.request

import pytest

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


def test_ports_differ():
    assert len({free_port() for _ in range(20)}) > 1
