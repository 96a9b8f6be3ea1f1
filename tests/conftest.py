"""Fixtures of the whole suite."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """shedproxy runs on asyncio: the servers it stands beside do too."""
    return "asyncio"
