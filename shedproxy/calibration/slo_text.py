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
    latency_ns, error_ratio = Nanos(0), _ERROR_RATIO
    for part in filter(None, (part.strip() for part in text.split(","))):
        if latency := _LATENCY.fullmatch(part):
            percentile = float(latency[1]) / 100
            latency_ns = parse_duration(latency[2])
        elif errors := _ERRORS.fullmatch(part):
            error_ratio = float(errors[1]) / (100 if errors[2] else 1)
        else:
            raise ValueError(f"{part!r} is no objective: try p99<250ms, errors<0.5%")
    if percentile is None or not 0 < percentile < 1 or latency_ns <= 0 or error_ratio > 1:
        raise ValueError("an SLO names a percentile of latency: try p99<250ms, errors<0.5%")
    return Slo(
        percentile=percentile, latency_ns=latency_ns, error_ratio=error_ratio, text=text.strip()
    )
