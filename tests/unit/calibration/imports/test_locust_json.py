"""JSON as Locust 2.47 wrote it, of the same run as its CSV."""

from __future__ import annotations

import json
import math

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.locust_json import is_locust_json, read_locust_json
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.errors import DocumentInvalidError


def test_it_says_what_the_csv_says() -> None:
    record = read_locust_json(load_file("locust.json"))
    assert record.total.request_count == 6183
    assert record.total.latency.at(0.5) == 21_000_000
    assert record.total.latency.at(0.99) == 80_000_000
    assert record.total.latency.mean_ns == pytest.approx(47.4e6, rel=0.01)
    assert record.total.rate_rps == pytest.approx(147, abs=1)
    assert sum(count for _, count in record.histogram) == 6183


def test_other_json_is_not_taken_for_it() -> None:
    assert not is_locust_json([])
    assert not is_locust_json([{"name": "/"}])
    assert not is_locust_json({"metrics": {}})


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (('"num_requests": 4631', '"num_requests": "x"'), "has no num_requests"),
        (('"39": 1', '"x": 1'), "a response time is 'x'"),
        (('"39": 1', '"39": null'), "a count of response times is 'None'"),
    ],
)
def test_damage_is_named_with_its_line(instead: tuple[str, str], said: str) -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        read_locust_json(load_file("locust.json", instead=instead))
    assert said in caught.value.problems[0].message
    assert caught.value.problems[0].line > 0


@pytest.mark.parametrize(
    "damage",
    [
        {"name": None},
        {"last_request_timestamp": "soon"},
        {"last_request_timestamp": [1]},
        {"num_requests": math.nan},
        {"num_requests": math.inf},
        {"num_requests": 10**400},
        {"total_response_time": 1e308},
        {"start_time": math.nan},
    ],
)
def test_a_value_that_is_none_of_its_kind_is_named_and_no_traceback(damage: dict) -> None:
    entry = {
        "method": "GET", "name": "/", "start_time": 1.0, "last_request_timestamp": 11.0,
        "num_requests": 10, "num_failures": 0, "total_response_time": 100,
        "response_times": {"10": 10},
    }  # fmt: skip
    assert read_locust_json(SourceText("run.json", json.dumps([entry]))).total.request_count == 10
    with pytest.raises(DocumentInvalidError, match="has no"):
        read_locust_json(SourceText("run.json", json.dumps([entry | damage])))
