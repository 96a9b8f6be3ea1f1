"""The control plane as a program: what it writes, where it listens, how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import httpx2
import pytest
from harness.control_plane import HOSTS, PaperFleet, settings

from shedproxy.cli.plane_client import ask_plane
from shedproxy.controlplane.run import make_service, serve, write_event
from shedproxy.controlplane.verbs import Texts, read_host
from shedproxy.errors import ConfigInvalidError, StartupError
from shedproxy.settings import TokenSettings, load_control_plane
from shedproxy.supervisor.rehearsal import rehearse
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def control(tmp_path):
    PaperFleet(tmp_path)  # for its keys
    file = tmp_path / "control.toml"
    file.write_text(
        f'store = "file://{tmp_path}/fleet"\nkey = "fleet.key"\nlisten = "127.0.0.1:0"\n'
        'period = "50ms"\n[promotion]\nbake = ["1s", "2s", "3s", "4s"]\n'
    )
    return load_control_plane(file)


def test_an_event_is_a_line_of_json(capsys):
    write_event("store failed", {"why": "disk\nfull"})
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["why"]) == ("store failed", "disk\nfull")
    assert event["time"].endswith("Z")


async def test_it_serves_until_a_signal_and_says_so(control):
    events = []
    service = make_service(control, rehearse=rehearse)
    assert [length // 10**9 for length in service.rules.rollout.bake_ns] == [1, 2, 3, 4]
    texts = Texts(texts={"": settings(7)}, names={})
    await service.begin([read_host(each) for each in HOSTS], texts, who="ann")
    running = asyncio.create_task(
        serve(control, rehearse=rehearse, report=lambda event, facts: events.append((event, facts)))
    )
    await eventually_async(lambda: any(event == "started" for event, _ in events))
    (started,) = (facts for event, facts in events if event == "started")
    address = started["listening"]
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def is_read() -> bool:
            return (await http.get(f"http://{address}/v1/status")).status_code == 200

        await eventually_async(is_read)
        path = "/v1/quarantine-cell"
        assert (await http.post(f"http://{address}{path}", json={"cell": "a"})).status_code == 401
        await asyncio.to_thread(ask_plane, address, "", "POST", path, body={"cell": "a"})
        entries = (await http.get(f"http://{address}/v1/audit")).json()["entries"]
        assert entries[-1]["who"] == "the user of the control plane"
    assert Path(started["order_key"]).exists()
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    assert events[-1][0] == "stopped"
    assert not Path(started["order_key"]).exists()


async def test_with_tokens_there_is_no_key_besides(control):
    events = []
    tokens = {"ann": TokenSettings(sha256="0" * 64)}
    running = asyncio.create_task(
        serve(
            control.model_copy(update={"token": tokens}),
            rehearse=rehearse,
            report=lambda event, facts: events.append((event, facts)),
        )
    )
    await eventually_async(lambda: any(event == "started" for event, _ in events))
    assert [facts["order_key"] for event, facts in events if event == "started"] == [""]
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_without_a_folder_it_starts_and_says_that_nobody_gives_orders(
    control, tmp_path, monkeypatch
):
    monkeypatch.setattr("shedproxy.listening.order_key._folders", lambda _: [tmp_path / "a" / "b"])
    events = []
    running = asyncio.create_task(
        serve(control, rehearse=rehearse, report=lambda event, facts: events.append((event, facts)))
    )
    await eventually_async(lambda: any(event == "started" for event, _ in events))
    assert events[0][0] == "no order key"
    assert "No such file" in events[0][1]["why"]
    os.kill(os.getpid(), signal.SIGTERM)
    await running


async def test_it_does_not_start_where_it_cannot_or_must_not_listen(control):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartupError, match="cannot listen on"):
            await serve(control.model_copy(update={"listen": listen}), rehearse=rehearse)
    with pytest.raises(ConfigInvalidError, match="there is no token"):
        await serve(control.model_copy(update={"listen": ":0"}), rehearse=rehearse)
