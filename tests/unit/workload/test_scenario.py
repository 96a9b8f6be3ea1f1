"""What a scenario means where it says nothing."""

from __future__ import annotations

import pytest

from shedproxy.workload.scenario import BackendSpec, Scenario


@pytest.mark.parametrize(
    ("deadline_ms", "service_ms", "expected"),
    [(None, 20.0, 1000.0), (None, 50.0, 1000.0), (None, 400.0, 8000.0), (200.0, 400.0, 200.0)],
)
def test_clients_want_their_answer_within_a_second_or_twenty_services(
    deadline_ms: float | None, service_ms: float, expected: float
) -> None:
    scenario = Scenario(deadline_ms=deadline_ms, backend=BackendSpec(service_ms=service_ms))
    assert scenario.deadline_or_default_ms == expected
