"""JSON as Locust 2.47 wrote it, of the same run as its CSV."""

from __future__ import annotations

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.locust_json import is_locust_json, read_locust_json
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
