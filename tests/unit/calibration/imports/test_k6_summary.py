"""Summaries in the three shapes that k6's sources write: flat, nested, and as a list."""

from __future__ import annotations

import pytest
from harness.load_files import load_file

from shedproxy.calibration.imports.k6_summary import is_k6_summary, read_k6_summary
from shedproxy.calibration.imports.load_record import Loop
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.errors import DocumentInvalidError

SHAPES = ["k6_export.json", "k6_handle_summary.json", "k6_machine_readable.json"]


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_says_the_same(name: str) -> None:
    record = read_k6_summary(load_file(name))
    assert record.total.request_count == 600
    assert record.total.failed_count == 3
    assert record.total.rate_rps == pytest.approx(19.98, abs=0.01)
    assert record.length_ns == pytest.approx(30.03e9, rel=1e-3)
    assert record.users == 10
    assert record.total.latency.at(0.5) == 20_900_000
    assert record.total.latency.at(0.95) == 23_750_000
    assert record.total.latency.max_ns == 88_250_000


def test_without_p99_it_says_how_to_have_it() -> None:
    record = read_k6_summary(load_file("k6_export.json"))
    assert record.total.latency.at(0.99) is None
    assert any("ask k6 for it with summaryTrendStats" in note for note in record.notes)
    other = read_k6_summary(load_file("k6_machine_readable.json"))
    assert any("never has one" in note for note in other.notes)


def test_dropped_iterations_tell_an_open_loop() -> None:
    """Only the arrival-rate executors count them."""
    record = read_k6_summary(load_file("k6_handle_summary.json"))
    assert record.loop is Loop.OPEN
    assert [(error.name, error.count) for error in record.errors] == [("dropped iterations", 7)]
    assert read_k6_summary(load_file("k6_export.json")).loop is Loop.UNKNOWN


def test_a_caller_who_knows_the_loop_is_believed() -> None:
    assert read_k6_summary(load_file("k6_export.json"), loop=Loop.CLOSED).loop is Loop.CLOSED


def test_the_version_is_kept_where_it_is_said() -> None:
    assert read_k6_summary(load_file("k6_machine_readable.json")).version == "2.2.0"


def test_sub_metrics_are_routes() -> None:
    routes = read_k6_summary(load_file("k6_export.json")).routes
    assert [(route.name, route.request_count) for route in routes] == [
        ("expected_response:true", None)
    ]


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (('"http_reqs"', '"ws_msgs_sent"'), "no http_req_duration and http_reqs"),
        (('"count": 600', '"count": "x"'), "http_reqs has no count"),
        (('"count": 600', '"count": 0'), "no request in it"),
        (('"med": 20.9', '"med": null'), "http_req_duration has no med"),
        (('"p(95)"', '"p(200)"'), "no 200th percentile"),
        (('"p(95)": 23.75', '"p(95)": 3'), "percentile 95 is less than percentile 90"),
        (('"max": 88.25', '"max": 1e308'), "http_req_duration has no max"),
        (('"rate<0.01": false', '"rate<0.01": "no"'), "neither kept nor crossed"),
        (('{\n    "rate<0.01": false\n   }', "3"), "thresholds of http_req_failed are no object"),
    ],
)
def test_damage_is_named_with_its_line(instead: tuple[str, str], said: str) -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        read_k6_summary(load_file("k6_export.json", instead=instead))
    assert said in caught.value.problems[0].message
    assert caught.value.problems[0].line > 0


def test_a_metric_that_is_no_object_is_refused() -> None:
    with pytest.raises(DocumentInvalidError, match="no object with values"):
        read_k6_summary(SourceText("a.json", '{"metrics": {"http_reqs": 3}}'))


@pytest.mark.parametrize(
    "text",
    [
        '{"results": {"metrics": [1]}}',
        '{"results": {"metrics": [{"name": ["http_reqs"], "values": {"count": 1}}]}}',
        '{"metrics": {"http_req_duration": {"avg": 1}, "http_reqs": {"count": 1e400}}}',
    ],
)
def test_what_cannot_be_a_value_is_refused(text: str) -> None:
    with pytest.raises(DocumentInvalidError):
        read_k6_summary(SourceText("s.json", text))


def test_a_length_that_is_none_is_not_known() -> None:
    text = (
        '{"metrics": {"http_req_duration": {"avg": 1}, "http_reqs": {"count": 9, "rate": "x"}},'
        ' "state": "x", "metadata": 1}'
    )
    assert read_k6_summary(SourceText("s.json", text)).length_ns is None


def test_other_json_is_not_taken_for_it() -> None:
    assert not is_k6_summary([1])
    assert not is_k6_summary({"results": {"metrics": 3}})


def test_users_that_are_no_number_are_refused() -> None:
    text = load_file("k6_export.json").text
    head, _, tail = text.partition('"vus_max"')
    source = SourceText("s.json", head + '"vus_max"' + tail.replace('"max": 10', '"max": "x"'))
    with pytest.raises(DocumentInvalidError, match="vus_max has no max: 'x'"):
        read_k6_summary(source)


def test_a_threshold_that_was_crossed_is_told() -> None:
    kept = read_k6_summary(load_file("k6_export.json"))
    assert not any("threshold" in note for note in kept.notes)
    crossed = load_file("k6_export.json", instead=('"rate<0.01": false', '"rate<0.01": true'))
    said = "The run's own threshold was crossed: http_req_failed, rate<0.01."
    assert said in read_k6_summary(crossed).notes
    ok = '"type": "rate",\n   "thresholds": {"rate<0.01": {"ok": %s}},'
    for is_ok in (True, False):
        instead = ('"type": "rate",', ok % str(is_ok).lower())
        notes = read_k6_summary(load_file("k6_handle_summary.json", instead=instead)).notes
        assert (said in notes) is not is_ok


def test_a_rate_next_to_nothing_makes_no_length() -> None:
    text = (
        '{"metrics": {"http_req_duration": {"avg": 1}, "http_reqs": {"count": 9, "rate": 1e-320}}}'
    )
    assert read_k6_summary(SourceText("s.json", text)).length_ns is None
