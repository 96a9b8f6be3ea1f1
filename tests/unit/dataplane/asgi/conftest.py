"""Apps and drivers for the tests of the middleware."""

from __future__ import annotations

import asyncio

import pytest

from shedproxy.dataplane.asgi import ShedMiddleware
from shedproxy.dataplane.driver import Driver
from shedproxy.snapshot import Classification, Document, RejectDocument
from shedproxy.testing import ManualClock, a_policy


class Held:
    """An app that answers when it is let go, and counts who is inside."""

    def __init__(self):
        self.started = []
        self.gate = asyncio.Event()
        self.status = 200
        self.headers = []

    async def __call__(self, scope, receive, send):
        self.started.append(scope["path"])
        await self.gate.wait()
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def a_driver(clock):
    """Makes drivers in virtual time: nothing expires until the test says `tick`."""

    def make(*, rules=(), **policy):
        document = Document(
            policy=a_policy(**policy),
            classification=Classification(rules=tuple(rules)),
            reject=RejectDocument(),
        )
        return Driver(document, clock=clock)

    return make


@pytest.fixture
def shed(a_driver):
    """Makes a middleware around an app, with a driver in virtual time."""

    def make(app, **values):
        given = {k: values.pop(k) for k in ("classify", "reject") if k in values}
        return ShedMiddleware(app, driver=a_driver(**values), **given)

    return make


def cell_of(middleware):
    """The read-out of the first cell."""
    return middleware._driver.shedder.stats().cells[0]
