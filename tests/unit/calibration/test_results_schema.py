"""The schema is that of what is written, and the file in the package is the schema."""

from __future__ import annotations

import copy
import json
from importlib.resources import files

import pytest
from harness.json_schema import violations
from harness.sample_report import sample_calibration

from shedproxy.calibration.results import encode_calibration
from shedproxy.calibration.results_schema import SCHEMA_FILE, results_json_schema

SCHEMA = results_json_schema()


@pytest.fixture(scope="module")
def body() -> dict:
    return json.loads(json.dumps(encode_calibration(sample_calibration())))


def test_what_is_written_follows_it(body: dict) -> None:
    assert violations(body, SCHEMA, SCHEMA) == []


def test_the_file_in_the_package_is_it() -> None:
    """Renew it: shedproxy export report-schema --out shedproxy/calibration/report.schema.json."""
    text = files("shedproxy.calibration").joinpath(SCHEMA_FILE).read_text()
    assert json.loads(text) == SCHEMA


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "other"),
        (("schema",), 2),
        (("plan", "slo", "latency_ns"), "fast"),
        (("verdict", "confidence"), "great"),
        (("findings", "capacity_rps"), 3),
        (("findings", "usl", "band"), [[1.0, 2.0]]),
        (("steps",), None),
        (("provenance", "is_complete"), 1),
    ],
)
def test_what_is_otherwise_does_not(body: dict, path: tuple[str, ...], value: object) -> None:
    wrong = copy.deepcopy(body)
    place = wrong
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(violations(wrong, SCHEMA, SCHEMA)) == 1


def test_what_must_be_there_is_named(body: dict) -> None:
    assert violations({}, SCHEMA, SCHEMA)[0] == "$: no format"
    assert "verdict" in SCHEMA["required"]
    assert "classes" not in SCHEMA["$defs"]["Step"]["required"], "it has a default"


def test_newer_fields_are_allowed(body: dict) -> None:
    assert violations({**body, "later": 1}, SCHEMA, SCHEMA) == []
