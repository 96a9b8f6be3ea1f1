"""An object store as far as it is used here: get, put, put if absent, list; through obstore.

`file:///folder` is the store that needs nobody, `s3://bucket/prefix` any that speaks S3 (its
address and credentials come from AWS_ENDPOINT_URL and the other AWS_ variables). Objects appear
whole or not at all in both, and `create` succeeds for one of all who try.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from shedproxy.core import Nanos, to_seconds
from shedproxy.errors import StartupError
from shedproxy.store.extra import import_extra

__all__ = ["ObjectStore", "open_store"]


class ObjectStore:
    """A bucket, or a folder in one. Every call raises OSError when it fails, and TimeoutError."""

    __slots__ = ("_obstore", "_store", "url")

    def __init__(self, obstore: Any, store: Any, url: str) -> None:
        self._obstore = obstore
        self._store = store
        self.url = url

    async def get(self, name: str, size_max: int) -> bytes:
        """The object's bytes; one byte more than `size_max` at most, so that it is seen to be.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            found = await self._obstore.get_async(self._store, name)
            pieces: list[bytes] = []
            size = 0
            async for piece in found.stream(min_chunk_size=1 << 20):
                pieces.append(bytes(piece))
                size += len(piece)
                if size > size_max:
                    break
        except self._obstore.exceptions.BaseError as error:
            raise _failure(error) from error
        return b"".join(pieces)[: size_max + 1]

    async def put(self, name: str, data: bytes) -> None:
        """Make the object, or replace it."""
        try:
            await self._obstore.put_async(self._store, name, data)
        except self._obstore.exceptions.BaseError as error:
            raise _failure(error) from error

    async def create(self, name: str, data: bytes) -> bool:
        """Make the object; False: there is one of this name already, and it stays as it is."""
        try:
            await self._obstore.put_async(self._store, name, data, mode="create")
        except (FileExistsError, self._obstore.exceptions.AlreadyExistsError):
            return False
        except self._obstore.exceptions.BaseError as error:
            raise _failure(error) from error
        return True

    async def delete(self, name: str) -> None:
        """Remove the object, if it is there."""
        try:
            await self._obstore.delete_async(self._store, name)
        except FileNotFoundError:
            return
        except self._obstore.exceptions.BaseError as error:
            raise _failure(error) from error

    async def names(self, prefix: str = "") -> list[str]:
        """Of all objects in a folder and below, in order."""
        names: list[str] = []
        try:
            async for batch in self._obstore.list(self._store, prefix or None):
                names += [entry["path"] for entry in batch]
        except self._obstore.exceptions.BaseError as error:
            raise _failure(error) from error
        return sorted(names)


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
