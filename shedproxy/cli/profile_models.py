"""Cells of a settings file that carry a profile, as a forecast needs them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from shedproxy.calibration.cell_models import law_of_scatter, station_of
from shedproxy.calibration.slo_text import parse_slo
from shedproxy.core import NS_PER_MS
from shedproxy.errors import StartupError
from shedproxy.simulator.forecast import CellModel

__all__ = ["models_of_settings"]


def _objective_ms(slo: str) -> float | None:
    try:
        return parse_slo(slo).latency_ns / NS_PER_MS
    except ValueError:
        # None was written, or by hand.
        return None


def models_of_settings(file: Path) -> list[CellModel]:
    """Every cell with a profile: its station, and the limit and queue that the file sets.

    Raises:
        StartupError: no cell has one.
        ConfigInvalidError: the settings are not good.
    """
    from shedproxy.settings import load_settings

    loaded = load_settings(file, environ=os.environ)
    policies = {cell.name: cell for cell in loaded.document.policy.cells}
    models = []
    for name, cell in loaded.settings.cell.items():
        profile = cell.profile
        whole = profile.routes.get("*") or next(iter(profile.routes.values()), [])
        if not profile.capacity or not whole:
            continue
        law, cv = law_of_scatter(profile.scatter)
        station = station_of(
            name,
            capacity_rps=profile.capacity[0],
            mean_ms=whole[0] / NS_PER_MS,
            law=law,
            cv=cv,
        )
        policy = policies[name]
        models.append(
            replace(
                station,
                limit=policy.limit,
                queue=policy.queue,
                objective_ms=_objective_ms(profile.slo),
            )
        )
    if not models:
        raise StartupError(
            f"{file} has no profile: shedproxy calibrate URL --write {file}, or name a report"
        )
    return models
