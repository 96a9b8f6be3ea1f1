from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest

from shedproxy.dataplane.channel import LOG_BUFFER_MAX, WorkerChannel, read_weights
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


class Ends:
    def __init__(self) -> None:
        self.messages: list[dict] = []
        self.lost = 0
        self.channel = WorkerChannel(self.messages.append, self.on_lost)
        self.supervisor, self.worker = socket.socketpair()
        self.supervisor.settimeout(30)

    def on_lost(self) -> None:
        self.lost += 1


@pytest.fixture
async def ends(anyio_backend) -> AsyncIterator[Ends]:
    ends = Ends()
    await ends.channel.open(ends.worker.detach())
    yield ends
    ends.channel.close()
    ends.supervisor.close()
    await asyncio.sleep(0.01)


async def test_messages_come_whole_however_they_are_cut(ends) -> None:
    text = b'{"op": "a"}\n{"op": "b", "x": [1]}\nnonsense\n[1]\n{"op": "c"}\n'
    for byte in text:
        ends.supervisor.send(bytes([byte]))
        await asyncio.sleep(0)
    await eventually_async(lambda: len(ends.messages) == 3)
    assert [message["op"] for message in ends.messages] == ["a", "b", "c"]


async def test_what_is_posted_is_one_line_of_json(ends) -> None:
    ends.channel.post("refused", problems=["a\nb"])
    await asyncio.sleep(0.01)
    line = ends.supervisor.recv(65536)
    assert line.endswith(b"\n")
    assert json.loads(line) == {"op": "refused", "problems": ["a\nb"]}


async def test_a_supervisor_that_does_not_read_costs_lines_not_memory(ends) -> None:
    """H13."""
    lines = ["x" * 1000] * 1000
    for _ in range(20):
        ends.channel.post_log(lines)
    assert ends.channel.lines_dropped > 10_000
    assert ends.channel._transport.get_write_buffer_size() < 4 * LOG_BUFFER_MAX


async def test_who_sends_much_asks_whether_there_is_room(ends) -> None:
    """Said again when the supervisor reads again; never once it is gone."""
    assert ends.channel.has_room
    while ends.channel.has_room:
        ends.channel.post("memory", cells={"default": "x" * 10_000})
    assert ends.channel._transport.get_write_buffer_size() < 2 * LOG_BUFFER_MAX
    ends.supervisor.setblocking(False)

    def drained() -> bool:
        with contextlib.suppress(BlockingIOError):
            ends.supervisor.recv(1024 * 1024)
        return ends.channel.has_room

    await eventually_async(drained)
    ends.supervisor.shutdown(socket.SHUT_RDWR)
    await eventually_async(lambda: ends.lost == 1)
    assert not ends.channel.has_room


async def test_the_end_of_the_supervisor_is_told_once(ends) -> None:
    ends.supervisor.shutdown(socket.SHUT_RDWR)
    await eventually_async(lambda: ends.lost == 1)
    ends.channel.post("ready")
    assert ends.lost == 1


def test_parts_of_upstreams_are_read_and_nonsense_is_left_out() -> None:
    assert read_weights({"a": {"http://h": 250}}) == {"a": {"http://h": 250}}
    assert read_weights({"a": 3}) == read_weights(None) == {}
