"""A scenario is read from TOML as it is meant."""

from __future__ import annotations

import tomllib

import pytest

from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, Expectation, Scenario
from shedproxy.workload.scenario_document import decode_scenario
from shedproxy.workload.table_decoder import TableInvalidError


def test_an_empty_document_is_the_default_scenario_under_its_file_s_name() -> None:
    assert decode_scenario({}, name="plain") == Scenario(name="plain")


def test_a_whole_document_is_read() -> None:
    text = """
    name = "own"
    duration_s = 10
    recovers_from_s = [5]
    [backend]
    slots = 8
    law = "lognormal"
    cv = 3
    [[client]]
    load = 1.5
    schedule = [[2, 3]]
    criticality = {critical = 1, sheddable_plus = 2}
    [[event]]
    at_s = 5
    what = "outage"
    for_s = 1
    [[expect]]
    metric = "goodput_ratio"
    at_least = 0.95
    by = ["shedproxy", "vegas"]
    """
    assert decode_scenario(tomllib.loads(text), name="file") == Scenario(
        name="own",
        duration_s=10.0,
        recovers_from_s=(5.0,),
        backend=BackendSpec(slots=8, law="lognormal", cv=3.0),
        client=(
            ClientSpec(
                load=1.5,
                schedule=((2.0, 3.0),),
                criticality=(("critical", 1.0), ("sheddable_plus", 2.0)),
            ),
        ),
        event=(EventSpec(at_s=5.0, what="outage", for_s=1.0),),
        expect=(Expectation(metric="goodput_ratio", at_least=0.95, by=("shedproxy", "vegas")),),
    )


@pytest.mark.parametrize(
    "text",
    ["duration_s = 0", "schema = 2", "backend.slots = 0", "backend.service_ms = 0",
     "proxy.count = 0", "event = [{at_s = 1, what = 'lock', share = 2}]",
     "client = [{load = 0}]", "client = [{load = 1, attempts = 0}]", "queue_length_max = 0"],
)  # fmt: skip
def test_a_number_that_makes_no_world_is_refused(text: str) -> None:
    with pytest.raises(TableInvalidError):
        decode_scenario(tomllib.loads(text))
