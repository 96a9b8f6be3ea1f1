"""An object store as far as it is used here: get, put, put if absent, list; through obstore.

`file:///folder` is the store that needs nobody, `s3://bucket/prefix` any that speaks S3 (its
address and credentials come from AWS_ENDPOINT_URL and the other AWS_ variables). Objects appear
whole or not at all in both, and `create` succeeds for one of all who try.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from shedproxy.core import Nanos, to_seconds
from shedproxy.errors import StartupError
from shedproxy.store.extra import import_extra

__all__ = ["ObjectStore", "open_store"]

T = TypeVar("T")
_AT_ONCE_MAX = 32
"""More calls wait for one of these; one that hangs ends with the time of a request."""


class ObjectStore:
    """A bucket, or a folder in one. Every call raises OSError when it fails, and TimeoutError.

    Each call blocks in a thread of ours. What obstore has for event loops ends in threads of its
    own, which touch Python objects a moment longer than anybody waits for: where that was the last
    thing a program did, it aborted one time in four.
    """

    __slots__ = ("_obstore", "_store", "_threads", "url")

    def __init__(self, obstore: Any, store: Any, url: str) -> None:
        self._obstore = obstore
        self._store = store
        self._threads = ThreadPoolExecutor(_AT_ONCE_MAX, thread_name_prefix="object-store")
        self.url = url

    async def get(self, name: str, size_max: int) -> bytes:
        """The object's bytes; one byte more than `size_max` at most, so that it is seen to be.

        Raises:
            FileNotFoundError: there is none.
        """

        def get() -> bytes:
            pieces: list[bytes] = []
            size = 0
            for piece in self._obstore.get(self._store, name).stream(min_chunk_size=1 << 20):
                pieces.append(bytes(piece))
                size += len(piece)
                if size > size_max:
                    break
            return b"".join(pieces)[: size_max + 1]

        return await self._in_thread(get)

    async def put(self, name: str, data: bytes) -> None:
        """Make the object, or replace it."""
        await self._in_thread(lambda: self._obstore.put(self._store, name, data))

    async def create(self, name: str, data: bytes) -> bool:
        """Make the object; False: there is one of this name already, and it stays as it is."""

        def create() -> bool:
            try:
                self._obstore.put(self._store, name, data, mode="create")
            except (FileExistsError, self._obstore.exceptions.AlreadyExistsError):
                return False
            return True

        return await self._in_thread(create)

    async def delete(self, name: str) -> None:
        """Remove the object, if it is there."""

        def delete() -> None:
            with suppress(FileNotFoundError):
                self._obstore.delete(self._store, name)

        await self._in_thread(delete)

    async def names(self, prefix: str = "") -> list[str]:
        """Of all objects in a folder and below, in order."""

        def names() -> list[str]:
            batches = self._obstore.list(self._store, prefix or None)
            return sorted(entry["path"] for batch in batches for entry in batch)

        return await self._in_thread(names)

    async def _in_thread(self, do: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, do)
        except self._obstore.exceptions.BaseError as error:
            raise _failure(error) from error


def open_store(url: str, *, timeout: Nanos) -> ObjectStore:
    """The store at `file:///folder` or `s3://bucket/prefix`; nothing is asked of it yet.

    Args:
        url: of the bucket or folder.
        timeout: of one request; nothing is tried a second time.

    Raises:
        StartupError: obstore is not installed, or it is no such URL.
    """
    obstore = import_extra("obstore")
    stores = import_extra("obstore.store")
    try:
        if url.startswith("file://"):
            store = stores.LocalStore(prefix=url.removeprefix("file://"), mkdir=True)
        else:
            length = timedelta(seconds=to_seconds(timeout))
            store = stores.from_url(
                url,
                client_options={"timeout": length, "connect_timeout": length, "allow_http": True},
                retry_config={"max_retries": 0, "retry_timeout": length},
            )
    except (ValueError, OSError, obstore.exceptions.BaseError) as error:
        raise StartupError(f"no store at {url}: {_first_line(error)}") from error
    return ObjectStore(obstore, store, url)


def _failure(error: Exception) -> OSError:
    return OSError(_first_line(error))


_TOOK = re.compile(r" in [0-9.]+[mµn]?s\b")


def _first_line(error: Exception) -> str:
    """Without the client's own trace, which goes on for many lines, and without how long it took:
    the same failure is said once, and has the same words each time.
    """
    return _TOOK.sub("", str(error).partition("\n")[0])
