"""What the kernel says of a port, and processes that stand still."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from loadtests.held import accepted_by, held, in_accept_queue


def test_a_connection_waits_until_somebody_accepts_it_and_is_his_from_then_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert in_accept_queue(port) == 0
        with socket.create_connection(("127.0.0.1", port)) as client:
            theirs = client.getsockname()[1]
            assert in_accept_queue(port) == 1
            assert theirs not in accepted_by(os.getpid(), port)
            with listener.accept()[0]:
                assert in_accept_queue(port) == 0
                assert accepted_by(os.getpid(), port) == {theirs}


def test_who_is_held_does_nothing_until_he_is_let_go() -> None:
    echo = [sys.executable, "-u", "-c", "import sys\nfor line in sys.stdin: print(line, end='')"]
    with subprocess.Popen(echo, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        with held([process.pid]):
            process.stdin.write(b"a\n")
            process.stdin.flush()
            assert process.stdout.read() is None
        os.set_blocking(process.stdout.fileno(), True)
        assert process.stdout.readline() == b"a\n"
        process.kill()
