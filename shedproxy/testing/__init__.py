"""Helpers for tests of services that use shedproxy, and for our own."""

from shedproxy.testing.asgi import AsgiExchange, AsgiProbe
from shedproxy.testing.builders import a_policy, a_request
from shedproxy.testing.clock import ManualClock
from shedproxy.testing.eventually import eventually, eventually_async
from shedproxy.testing.server_process import ServerProcess, free_port
from shedproxy.testing.upstream import ScriptedUpstream

__all__ = [
    "AsgiExchange",
    "AsgiProbe",
    "ManualClock",
    "ScriptedUpstream",
    "ServerProcess",
    "a_policy",
    "a_request",
    "eventually",
    "eventually_async",
    "free_port",
]
