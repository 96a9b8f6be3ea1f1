"""A scenario from a TOML document, or every problem of it at once, each with its path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shedproxy.workload.scenario import Scenario
from shedproxy.workload.scenario_checks import check_scenario
from shedproxy.workload.table_decoder import Findings, decode_table

__all__ = ["decode_scenario"]

_ABOVE_0 = (0.0, math.inf, False)
_FROM_1 = (1.0, math.inf, True)
_SHARE = (0.0, 1.0, True)

_BOUNDS = {
    ("Scenario", "duration_s"): _ABOVE_0,
    ("Scenario", "deadline_ms"): _ABOVE_0,
    ("Scenario", "queue_length_max"): _FROM_1,
    ("Scenario", "seeds_min"): _FROM_1,
    ("BackendSpec", "hosts"): _FROM_1,
    ("BackendSpec", "slots"): _FROM_1,
    ("BackendSpec", "service_ms"): _ABOVE_0,
    ("BackendSpec", "recorded_ms"): _ABOVE_0,
    ("BackendSpec", "alpha"): _SHARE,
    ("BackendSpec", "beta"): _SHARE,
    ("BackendSpec", "lock_share"): _SHARE,
    ("ClientSpec", "load"): _ABOVE_0,
    ("ClientSpec", "rate_rps"): _ABOVE_0,
    ("ClientSpec", "requests"): _FROM_1,
    ("ClientSpec", "calls_per_task"): _FROM_1,
    ("ClientSpec", "session_pages"): _FROM_1,
    ("ClientSpec", "timeout_ms"): _ABOVE_0,
    ("ClientSpec", "attempts"): _FROM_1,
    ("ClientSpec", "service_factor"): _ABOVE_0,
    ("ClientSpec", "cost"): _FROM_1,
    ("CellSpec", "weight"): _FROM_1,
    ("CellSpec", "zones"): _FROM_1,
    ("CellSpec", "attempts"): _FROM_1,
    ("Scenario", "snapshot_s"): _ABOVE_0,
    ("EventSpec", "share"): _SHARE,
    ("ProxySpec", "count"): _FROM_1,
    ("ProxySpec", "upstream_timeout_ms"): _ABOVE_0,
    ("ProfileSpec", "start"): _FROM_1,
    ("ProfileSpec", "minimum"): _FROM_1,
    ("ProfileSpec", "maximum"): _FROM_1,
    ("ProfileSpec", "baseline_ms"): _ABOVE_0,
    ("Expectation", "at_least"): (-math.inf, math.inf, True),
    ("Expectation", "at_most"): (-math.inf, math.inf, True),
}


def decode_scenario(values: Mapping[str, Any], *, name: str = "") -> Scenario:
    """The scenario that a TOML document describes.

    Args:
        values: as `tomllib` reads them.
        name: the scenario's name if the document has none: the file's.

    Raises:
        TableInvalidError: with every problem; their places are paths, not lines.
    """
    findings = Findings()
    scenario: Scenario = decode_table(Scenario, values, (), findings, _BOUNDS)
    check_scenario(scenario, findings)
    findings.raise_any()
    return scenario if scenario.name else replace(scenario, name=name)
