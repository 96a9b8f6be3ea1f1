"""The memory of who listens on a port, as /proc has it."""

from __future__ import annotations

import os
import socket

from shedproxy.calibration.target_memory import listeners, memory_max, resident_bytes, watch_port


def test_the_listener_of_a_port_is_found_with_its_memory() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert listeners(port) == [os.getpid()]
        held = watch_port(port)()
        assert held is not None
        assert 5e6 < held < 5e9
    assert listeners(port) == []


def test_nobody_has_no_memory_and_the_machine_has_some() -> None:
    assert resident_bytes([]) is None
    assert resident_bytes([2**22 + 1]) is None
    most = memory_max()
    assert most is not None
    assert most > 1e8
