"""Where one snapshot is fetched from, or one report is left: a file, an HTTP URL, or an object.

`/path` is a file, `https://host/path` is asked whole every time (nothing conditional, nothing
compressed, no redirect), `file:///folder/name` and `s3://bucket/prefix/name` are objects.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from shedproxy.core import Nanos, to_seconds
from shedproxy.errors import StartupError
from shedproxy.store.objects import ObjectStore, open_store
from shedproxy.store.replacing import replace_file

__all__ = ["Place", "PlaceFailedError", "open_place", "shown_place"]

T = TypeVar("T")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY = re.compile(r"(://[^?\s]*\?)\S+")


class PlaceFailedError(OSError):
    """It could not be read or written now; says why."""


class Place(Protocol):
    """One thing that is read and replaced whole. Both raise PlaceFailedError."""

    async def read(self, size_max: int) -> bytes:
        """All of it; one byte more than `size_max` at most, so that it is seen to be."""

    async def write(self, data: bytes) -> None:
        """Put this there."""

    async def close(self) -> None:
        """Let go of connections."""


def open_place(url: str, *, timeout: Nanos, token: Callable[[], str] = lambda: "") -> Place:
    """The place; nothing is asked of it yet.

    Args:
        url: a path or a URL.
        timeout: for one reading or writing in all.
        token: gives the bearer token for HTTP; "" sends none.

    Raises:
        StartupError: what it needs is not installed, or it is no such URL.
    """
    if url.startswith(("http://", "https://")):
        return _HttpPlace(url, timeout, token)
    if "://" not in url:
        return _FilePlace(Path(url), timeout)
    folder, _, name = url.rpartition("/")
    if not name or folder.endswith(":/"):
        raise StartupError(f"{shown_place(url)} names no object: give its folder, / and its name")
    return _ObjectPlace(open_store(folder, timeout=timeout), name, timeout)


def shown_place(url: str) -> str:
    """The URL as it may be shown: without user and password, and without a query, which may be a
    signature. What is no URL stays as it is.
    """
    return _QUERY.sub(r"\1***", _USER_INFO.sub("***", url))


class _FilePlace:
    """A file."""

    def __init__(self, file: Path, timeout: Nanos) -> None:
        self._file = file
        self._timeout = to_seconds(timeout)
        self._under_way: asyncio.Future[Any] | None = None
        """What was given up and has not ended: a mount that hangs is to hold no second thread."""

    async def read(self, size_max: int) -> bytes:
        def read() -> bytes:
            if not self._file.is_file():
                # A device or a pipe: reading may never end.
                raise FileNotFoundError(2, "No such file", str(self._file))
            with self._file.open("rb") as stream:
                return stream.read(size_max + 1)

        return await self._in_thread(read)

    async def write(self, data: bytes) -> None:
        await self._in_thread(lambda: replace_file(self._file, data))

    async def close(self) -> None:
        """There is nothing to close."""

    async def _in_thread(self, do: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                if self._under_way is not None and not self._under_way.done():
                    await asyncio.wait((self._under_way,))
                begun = self._under_way = asyncio.create_task(asyncio.to_thread(do))
                return await asyncio.shield(begun)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> PlaceFailedError:
        why = error.strerror or str(error) or f"no answer in {self._timeout:g} s"
        return PlaceFailedError(f"{self._file}: {why}")


class _HttpPlace:
    """What a web server gives for a URL, and takes by POST."""

    def __init__(self, url: str, timeout: Nanos, token: Callable[[], str]) -> None:
        import httpx2  # noqa: PLC0415 - not wanted where files do

        self._url = url
        self._timeout = to_seconds(timeout)
        self._token = token
        self._client: Any = httpx2.AsyncClient(timeout=self._timeout, follow_redirects=False)

    async def read(self, size_max: int) -> bytes:
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("GET", self._url, headers=self._headers()) as answer,
            ):
                self._check(answer)
                self._check_plain(answer)
                pieces: list[bytes] = []
                size = 0
                async for piece in answer.aiter_raw():
                    pieces.append(piece)
                    size += len(piece)
                    if size > size_max:
                        break
        except PlaceFailedError:
            raise
        except Exception as error:
            # Not only its HTTPError: a URL or a token that cannot be sent is something else.
            raise self._failure(error) from error
        return b"".join(pieces)[: size_max + 1]

    async def write(self, data: bytes) -> None:
        try:
            headers = {**self._headers(), "content-type": "application/json"}
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url, content=data, headers=headers) as answer,
            ):
                self._check(answer)
        except PlaceFailedError:
            raise
        except Exception as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        await self._client.aclose()

    @property
    def _shown(self) -> str:
        return shown_place(self._url)

    def _headers(self) -> dict[str, str]:
        headers = {"accept-encoding": "identity", "cache-control": "no-cache"}
        token = self._token()
        if token:
            headers["authorization"] = f"Bearer {token}"
        return headers

    def _check(self, answer: Any) -> None:
        if not 200 <= answer.status_code < 300:
            raise PlaceFailedError(f"{self._shown}: status {answer.status_code}")

    def _check_plain(self, answer: Any) -> None:
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise PlaceFailedError(f"{self._shown}: it came compressed, unasked")

    def _failure(self, error: Exception) -> PlaceFailedError:
        why = str(error) or f"no answer in {self._timeout:g} s"
        return PlaceFailedError(f"{self._shown}: {why}")


class _ObjectPlace:
    """An object of a store."""

    def __init__(self, store: ObjectStore, name: str, timeout: Nanos) -> None:
        self._store = store
        self._name = name
        self._timeout = to_seconds(timeout)

    async def read(self, size_max: int) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._store.get(self._name, size_max)
        except OSError as error:  # a TimeoutError is one
            raise self._failure(error) from error

    async def write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._store.put(self._name, data)
        except OSError as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """The store's client goes with the store."""

    def _failure(self, error: OSError) -> PlaceFailedError:
        why = str(error).partition("\n")[0] or f"no answer in {self._timeout:g} s"
        return PlaceFailedError(f"{shown_place(self._store.url)}/{self._name}: {why}")
