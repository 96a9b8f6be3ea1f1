"""Objectives as people write them."""

from __future__ import annotations

import pytest

from shedproxy.calibration.slo_text import parse_slo
from shedproxy.core import milliseconds


def test_an_objective_names_latency_and_errors() -> None:
    slo = parse_slo("p99<250ms, errors<0.5%")
    assert (slo.percentile, slo.latency_ns, slo.error_ratio) == (
        0.99, milliseconds(250), 0.005,
    )  # fmt: skip
    assert parse_slo("p99.9 <= 1s").percentile == pytest.approx(0.999)
    assert parse_slo("p50<1s").error_ratio == 0.01


@pytest.mark.parametrize("text", ["", "fast", "errors<1%", "p99<250", "p0<1s", "p99<1s, x<1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_slo(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p95<100ms, p99<250ms", "a second one"),
        ("p99<1s, errors<1%, errors<2%", "a second one"),
        ("p99<1s, errors<5", "errors are a share"),
    ],
)
def test_what_would_be_left_out_or_misread_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_slo(text)
