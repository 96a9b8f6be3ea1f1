"""What good service is, as people write it: `p99<250ms, errors<0.5%`."""

from __future__ import annotations

import re

from shedproxy.calibration.measurement import Slo
from shedproxy.core import Nanos
from shedproxy.settings.quantities import parse_duration

__all__ = ["parse_slo"]

_LATENCY = re.compile(r"p(\d{1,2}(?:\.\d+)?)\s*<=?\s*(\S+)")
_ERRORS = re.compile(r"errors\s*<=?\s*(\d+(?:\.\d+)?)\s*(%?)")
_ERROR_RATIO = 0.01


def parse_slo(text: str) -> Slo:
    """An SLO of one latency percentile and, if it is said, errors (else 1 %).

    Raises:
        ValueError: it is none; says what was expected.
    """
    percentile: float | None = None
    error_ratio: float | None = None
    latency_ns = Nanos(0)
    for part in filter(None, (part.strip() for part in text.split(","))):
        latency, errors = _LATENCY.fullmatch(part), _ERRORS.fullmatch(part)
        if (latency and percentile is not None) or (errors and error_ratio is not None):
            raise ValueError(f"{part!r} is a second one: an SLO has one percentile, and one errors")
        if latency:
            percentile = float(latency[1]) / 100
            latency_ns = parse_duration(latency[2])
        elif errors:
            error_ratio = float(errors[1]) / (100 if errors[2] else 1)
        else:
            raise ValueError(f"{part!r} is no objective: try p99<250ms, errors<0.5%")
    error_ratio = _ERROR_RATIO if error_ratio is None else error_ratio
    if error_ratio > 1:
        raise ValueError("errors are a share of all requests: try errors<0.5%")
    if percentile is None or not 0 < percentile < 1 or latency_ns <= 0:
        raise ValueError("an SLO names a percentile of latency: try p99<250ms, errors<0.5%")
    return Slo(
        percentile=percentile, latency_ns=latency_ns, error_ratio=error_ratio, text=text.strip()
    )
