"""Some of the table against `shedproxy run` as users start it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.case import Case
from conformance.cases import ALL
from conformance.judge import differences, explain
from conformance.observe import observe
from conformance.recorder import Recorder
from harness.proxy import Shedproxy

pytestmark = pytest.mark.integration

SAMPLE = [case for case in ALL if case.bench == "plain"][::12]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorder, int]]:
    recorder = Recorder()
    with Shedproxy(recorder.url, home=tmp_path_factory.mktemp("run")) as proxy:
        yield recorder, proxy.port
    recorder.close()


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_case(case: Case, running: tuple[Recorder, int]) -> None:
    recorder, port = running
    seen = observe(port, recorder, case)
    found = differences(case, seen)
    assert not found, explain(case, seen, found)
