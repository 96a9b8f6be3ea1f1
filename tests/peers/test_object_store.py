"""Snapshots in a store that speaks S3: moto, as a server of its own, over HTTP."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from harness.process import Listening, free_port

from shedproxy.core import milliseconds, seconds
from shedproxy.store import PlaceFailedError, open_place, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.peers("moto")]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with Listening("moto", command, port=port, home=tmp_path_factory.mktemp("moto")) as server:
        environ = {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            import boto3

            boto3.client("s3").create_bucket(Bucket="fleet")
            yield "s3://fleet/edge"


async def test_objects_are_put_got_and_listed(bucket):
    store = open_store(bucket, timeout=seconds(10))
    await store.put("revisions/1", b"one")
    await store.put("revisions/2", bytes(3_000_000))
    assert await store.get("revisions/1", 10) == b"one"
    assert len(await store.get("revisions/2", 1000)) == 1001
    assert await store.names("revisions") == ["revisions/1", "revisions/2"]
    await store.delete("revisions/2")
    assert await store.names() == ["revisions/1"]
    with pytest.raises(FileNotFoundError):
        await store.get("revisions/2", 10)


async def test_put_if_absent_is_won_once(bucket):
    store = open_store(bucket, timeout=seconds(10))
    assert await store.create("lock", b"first")
    assert not await store.create("lock", b"second")
    assert await store.get("lock", 10) == b"first"


async def test_a_snapshot_is_fetched_and_a_report_left(bucket):
    place = open_place(f"{bucket}/current", timeout=seconds(10))
    with pytest.raises(PlaceFailedError, match=r"edge/current"):
        await place.read(100)
    await place.write(b"snapshot")
    assert await place.read(100) == b"snapshot"


async def test_a_store_that_is_gone_or_silent_is_a_failure_in_time(bucket, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], free_port()):
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            place = open_place(f"{bucket}/current", timeout=milliseconds(300))
            began = asyncio.get_running_loop().time()
            with pytest.raises(PlaceFailedError):
                await place.read(100)
            assert asyncio.get_running_loop().time() - began < 3
