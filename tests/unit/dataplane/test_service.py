"""The proxy and the server of applications both are what a worker runs."""

from __future__ import annotations

import inspect

import pytest

from shedproxy.dataplane.asgi_worker import AsgiService
from shedproxy.dataplane.service import Service
from shedproxy.dataplane.wire.server import WireServer


@pytest.mark.parametrize("service", [AsgiService, WireServer])
def test_a_service_has_every_call_with_its_arguments(service):
    calls = {name: call for name, call in vars(Service).items() if inspect.isfunction(call)}
    calls = {name: call for name, call in calls.items() if not name.startswith("_")}
    assert len(calls) >= 8
    for name, call in calls.items():
        assert list(inspect.signature(getattr(service, name)).parameters) == list(
            inspect.signature(call).parameters
        ), name
