"""Programs beside a loop that must not stand still: its upstreams and clients live in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from harness.proxy import Shedproxy


async def in_thread(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A call that blocks."""
    return await asyncio.to_thread(function, *arguments, **options)


@asynccontextmanager
async def entered(proxy: Shedproxy) -> AsyncIterator[Shedproxy]:
    """A program for an `async with` block."""
    await in_thread(proxy.__enter__)
    try:
        yield proxy
    finally:
        await in_thread(proxy.stop)
