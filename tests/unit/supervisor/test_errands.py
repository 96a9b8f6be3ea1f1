"""What an orchestrator gets, how often, and what is said when it does not take it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import httpx2
import pytest
from harness.raw_server import raw_server

from shedproxy.core import Act, Bullet, OutlierReason, milliseconds, seconds
from shedproxy.snapshot import ReplacementDocument
from shedproxy.supervisor.errands import Errands, sign
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

BULLET = Bullet(serial=7, cell="a", host="http://h:1", zone="z", reason=OutlierReason.CHECK)
FACTS = {
    "action": "replace",
    "cell": "a",
    "host": "http://h:1",
    "zone": "z",
    "reason": "check",
    "new": "",
    "key": "ledger-7-replace",
}


class Orchestrator:
    """Takes posts, after so many that it refuses."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> Orchestrator:
        self._server = raw_server(self._serve)
        self.url = f"http://{await self._server.__aenter__()}/replace"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._server.__aexit__(*error)

    async def _serve(self, reader, writer) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        head = dict(line.lower().split(": ", 1) for line in lines)
        self.bodies.append(await reader.readexactly(int(head["content-length"])))
        self.heads.append(head)
        status = 503 if len(self.heads) <= self.refusals else 202
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        await writer.drain()


class Bench:
    def __init__(self) -> None:
        self.events: list = []
        self.errands = Errands(
            "ledger",
            lambda event, facts: self.events.append((event, facts)),
            wall=lambda: 1234.5,
            first_pause_s=0.001,
        )

    async def run(self, document: ReplacementDocument, act: Act = Act.ASK) -> tuple[str, dict]:
        self.errands.run(act, BULLET, document)
        await eventually_async(lambda: self.events)
        await self.errands.close()
        return self.events[-1]


async def test_a_post_is_signed_and_says_what_is_asked(tmp_path):
    (tmp_path / "key").write_text("secret\n")
    async with Orchestrator(refusals=2) as orchestrator:
        document = ReplacementDocument(url=orchestrator.url, secret_file=str(tmp_path / "key"))
        event, facts = await Bench().run(document)
    assert (event, facts["attempts"]) == ("replacement asked", 3)
    assert [json.loads(body) for body in orchestrator.bodies] == [FACTS] * 3
    head = orchestrator.heads[-1]
    assert head["idempotency-key"] == "ledger-7-replace"
    assert head["shedproxy-timestamp"] == "1234"
    assert head["shedproxy-signature"] == sign(b"secret", "1234", orchestrator.bodies[-1])


async def test_a_webhook_may_take_as_long_as_is_said(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("secret")
    bounds = []

    class Client(httpx2.AsyncClient):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)
            bounds.append(self.timeout.read)

    monkeypatch.setattr(httpx2, "AsyncClient", Client)
    async with Orchestrator() as orchestrator:
        document = ReplacementDocument(url=orchestrator.url, secret_file=str(tmp_path / "key"))
        event, _ = await Bench().run(replace(document, timeout_ns=seconds(60)))
    assert event == "replacement asked"
    assert bounds == [None], "what is said is the bound of all of it, and there is no other"


async def test_who_never_takes_it_is_reported_after_so_many_tries(tmp_path):
    (tmp_path / "key").write_text("secret")
    async with Orchestrator(refusals=99) as orchestrator:
        document = ReplacementDocument(
            url=orchestrator.url, secret_file=str(tmp_path / "key"), attempts=3
        )
        event, facts = await Bench().run(document)
    assert (event, facts["why"]) == ("replacement failed", "status 503")
    assert len(orchestrator.bodies) == 3
    event, facts = await Bench().run(replace(document, secret_file=str(tmp_path / "none")))
    assert (event, facts["why"][-25:]) == ("replacement failed", "No such file or directory")


async def test_a_command_gets_it_in_its_environment(tmp_path):
    names = [f"SHEDPROXY_{name.upper()}" for name in FACTS]
    program = (
        "import os, sys, pathlib; values = [os.environ[name] for name in sys.argv[2:]];"
        "pathlib.Path(sys.argv[1]).write_text('|'.join(values))"
    )
    command = (sys.executable, "-c", program, str(tmp_path / "out"), *names)
    event, facts = await Bench().run(ReplacementDocument(command=command), Act.TELL)
    assert (event, facts["action"]) == ("replacement asked", "remove")
    assert (tmp_path / "out").read_text() == "remove|a|http://h:1|z|check||ledger-7-remove"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.stderr.write('no quota'); sys.exit(3)", "exit code 3: no quota"),
        ("import time; time.sleep(60)", "not done in time"),
    ],
)
async def test_a_command_that_fails_or_hangs_is_reported(program, why):
    document = ReplacementDocument(
        command=(sys.executable, "-c", program),
        attempts=1,
        timeout_ns=milliseconds(300) if "sleep" in program else seconds(20),
    )
    event, facts = await Bench().run(document)
    assert (event, facts["why"]) == ("replacement failed", why)


async def test_a_command_may_say_as_much_as_it_likes():
    """Nobody reads it but its beginning, and nobody waits for what it left running."""
    program = (
        "import os, subprocess, sys; sys.stderr.write('first ' + 'x' * 1_000_000);"
        "subprocess.Popen(['sleep', '5']); sys.exit(int(os.environ['SHEDPROXY_KEY'] == ''))"
    )
    document = ReplacementDocument(command=(sys.executable, "-c", program), attempts=1)
    event, _ = await Bench().run(replace(document, timeout_ns=seconds(4)))
    assert event == "replacement asked"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (ReplacementDocument(url="http://a\x01b/"), "InvalidURL"),
        (ReplacementDocument(command=("a\0b",)), "null byte"),
    ],
)
async def test_what_can_never_be_done_is_reported(tmp_path, document, why):
    (tmp_path / "key").write_text("secret")
    event, facts = await Bench().run(
        replace(document, secret_file=str(tmp_path / "key"), attempts=1)
    )
    assert event == "replacement failed"
    assert why in facts["why"]


async def test_nothing_is_signed_with_an_empty_secret(tmp_path):
    (tmp_path / "key").write_text("\n")
    async with Orchestrator() as orchestrator:
        event, facts = await Bench().run(
            ReplacementDocument(url=orchestrator.url, secret_file=str(tmp_path / "key"), attempts=1)
        )
        assert (event, facts["why"]) == ("replacement failed", f"{tmp_path}/key: it is empty")
        assert orchestrator.heads == []


async def test_a_command_that_is_not_there_is_reported():
    event, facts = await Bench().run(ReplacementDocument(command=("/none",), attempts=1))
    assert (event, facts["why"]) == (
        "replacement failed",
        "cannot start: No such file or directory",
    )


async def test_an_errand_is_under_way_once_and_nobody_is_asked_who_is_not_there():
    bench = Bench()
    bench.errands.run(Act.ASK, BULLET, ReplacementDocument())
    document = ReplacementDocument(command=(sys.executable, "-c", "import time; time.sleep(60)"))
    for _ in range(3):
        bench.errands.run(Act.ASK, BULLET, document)
    assert len(bench.errands._tasks) == 1
    await bench.errands.close()
    assert bench.events == []
