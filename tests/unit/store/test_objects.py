"""Objects in a folder: whole or not at all, and made by one of all who try."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from shedproxy.core import seconds
from shedproxy.errors import StartupError
from shedproxy.store import open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/bucket", timeout=seconds(5))


async def test_an_object_is_put_got_replaced_and_removed(store):
    for data in (b"one", b"two"):
        await store.put("a/b", data)
        assert await store.get("a/b", 10) == data
    await store.put("a/a", b"")
    await store.put("c", bytes(3_000_000))
    assert await store.names() == ["a/a", "a/b", "c"]
    assert await store.names("a") == ["a/a", "a/b"]
    for _ in range(2):
        await store.delete("a/b")
    assert await store.names("a") == ["a/a"]


async def test_one_of_all_who_create_it_makes_it(store):
    won = await asyncio.gather(*(store.create("a", b"%d" % index) for index in range(8)))
    assert sum(won) == 1
    assert await store.get("a", 10) == b"%d" % won.index(True)


async def test_what_is_too_large_is_got_one_byte_too_far(store):
    await store.put("a", bytes(3_000_000))
    assert len(await store.get("a", 1000)) == 1001


async def test_what_is_not_there_is_a_missing_file(store):
    with pytest.raises(FileNotFoundError):
        await store.get("a", 10)


def test_a_program_whose_last_word_goes_to_a_store_ends_well(tmp_path):
    """Of programs that waited for obstore's own threads one in four aborted."""
    code = (
        "import asyncio, sys\n"
        "from shedproxy.store import open_store\n"
        "async def main():\n"
        "    store = open_store(sys.argv[1], timeout=10**9)\n"
        "    await store.put('a', b'1')\n"
        "    assert await store.names() == ['a']\n"
        "asyncio.run(main())\n"
    )
    for _ in range(16):
        ended = subprocess.run(
            [sys.executable, "-c", code, f"file://{tmp_path}/store"], check=False
        )
        assert ended.returncode == 0


@pytest.mark.parametrize("url", ["nope://bucket", "s3://"])
def test_a_url_that_is_no_store_is_said(url):
    with pytest.raises(StartupError, match="no store at"):
        open_store(url, timeout=seconds(1))
