from __future__ import annotations

import os
import socket

import pytest

from shedproxy.core import Instant
from shedproxy.supervisor.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(30)
        yield receiver


def notifier_to(manager, **environ: str) -> Notifier:
    return Notifier(
        {"NOTIFY_SOCKET": manager.getsockname(), **environ}, clock=lambda: Instant(5_000_999)
    )


def test_each_state_is_one_datagram_of_assignments(manager):
    notifier = notifier_to(manager)
    notifier.ready("serving")
    notifier.reloading()
    notifier.stopping("draining")
    notifier.status("hello")
    notifier.alive()
    assert manager.recv(999) == b"READY=1\nSTATUS=serving"
    assert manager.recv(999) == b"RELOADING=1\nMONOTONIC_USEC=5000"
    assert manager.recv(999) == b"STOPPING=1\nSTATUS=draining"
    assert manager.recv(999) == b"STATUS=hello"
    assert manager.recv(999) == b"WATCHDOG=1"


def test_without_a_manager_nothing_happens():
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": "/no/such/socket"}).ready("x")


def test_the_watchdog_is_read_for_this_process_only(manager):
    assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_ns == 3_000_000_000
    mine = {"WATCHDOG_USEC": "5", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier(mine).watchdog_ns == 5_000
    assert Notifier({**mine, "WATCHDOG_PID": "1"}).watchdog_ns == 0
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_ns == 0
