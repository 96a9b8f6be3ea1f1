"""A station from what was measured: its capacity, its law, its slots by Little's law."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.sample_report import sample_calibration

from shedproxy.calibration.cell_models import (
    cell_models,
    class_mix,
    law_of_scatter,
    share_loads,
    station_of,
)
from shedproxy.calibration.results import Calibration, CellThresholds, Findings, LawFit, Thresholds
from shedproxy.core import Criticality

SAMPLE = sample_calibration()


def with_law(law: LawFit | None) -> Calibration:
    route = replace(SAMPLE.findings.routes[0], law=law)
    return replace(SAMPLE, findings=replace(SAMPLE.findings, routes=(route,)))


def test_capacity_is_kept_and_slots_are_whole() -> None:
    model = station_of("a", capacity_rps=199.0, mean_ms=20.6)
    assert model.slots == 4
    assert model.capacity_rps == pytest.approx(199.0)
    assert model.network_ms == pytest.approx(20.6 - 4 / 0.199)


def test_limits_and_deadline_are_those_of_the_calibration() -> None:
    models = cell_models(SAMPLE)
    assert models is not None
    (model,) = models
    assert SAMPLE.findings.capacity_rps is not None
    assert model.capacity_rps == pytest.approx(SAMPLE.findings.capacity_rps.value)
    assert (model.limit.initial, model.limit.minimum, model.limit.maximum) == (12, 4, 16)
    assert model.queue.wait_max_ns == 80_000_000
    assert (model.deadline_ms, model.objective_ms) == (2000, 250)


def test_a_law_that_fits_is_taken_and_else_what_was_recorded() -> None:
    close = cell_models(with_law(LawFit(name="lognormal", cv=1.7, distance=0.02)))
    assert close is not None
    assert (close[0].law, close[0].cv, close[0].recorded_ms) == ("lognormal", 1.7, ())
    unlike = LawFit(name="exponential", cv=1.4, distance=0.07)  # a log-normal of a few hundred
    for law in (None, LawFit(name="exponential", cv=1.0, distance=0.2), unlike):
        far = cell_models(with_law(law))
        assert far is not None
        assert far[0].law == "recorded"
        assert len(far[0].recorded_ms) == 200
        assert sum(far[0].recorded_ms) / len(far[0].recorded_ms) == pytest.approx(20.4, rel=0.1)


def test_a_scatter_alone_is_a_law_too() -> None:
    assert law_of_scatter(0.05) == ("constant", None)
    assert law_of_scatter(0.9) == ("exponential", None)
    assert law_of_scatter(2.0) == ("lognormal", 2.0)


def test_without_capacity_there_is_no_model() -> None:
    assert cell_models(replace(SAMPLE, findings=Findings())) is None


def test_without_thresholds_limits_are_defaults() -> None:
    models = cell_models(replace(SAMPLE, thresholds=None))
    assert models is not None
    assert models[0].limit.maximum == 1000


def test_classes_are_those_that_were_played() -> None:
    assert class_mix(SAMPLE)[0] == (Criticality.CRITICAL, 0.2)
    bare = replace(SAMPLE, plan=replace(SAMPLE.plan, classes=()))
    assert class_mix(bare) == [(Criticality.CRITICAL, 1.0)]


TWO = replace(
    SAMPLE,
    thresholds=Thresholds(
        cells=(
            CellThresholds(name="a", start=6, floor=1, ceiling=9),
            CellThresholds(name="b", start=3, floor=1, ceiling=9),
        )
    ),
)


def test_the_load_is_shared_by_capacity_and_the_lost_cells_is_taken_over() -> None:
    models = cell_models(TWO)
    assert models is not None
    assert models[0].capacity_rps == pytest.approx(2 * models[1].capacity_rps)
    assert [each.offered_rps for each in share_loads(models, 90.0)] == pytest.approx([60, 30])
    left = share_loads(models, 90.0, lost=["b"])
    assert [(each.model.name, each.offered_rps) for each in left] == [("a", 90.0)]


@pytest.mark.parametrize(
    ("lost", "said"), [(["c"], "there is no cell 'c'; there are: a, b"), (["a", "b"], "no cell is")]
)
def test_what_cannot_be_lost_is_said(lost: list[str], said: str) -> None:
    models = cell_models(TWO)
    assert models is not None
    with pytest.raises(ValueError, match=said):
        share_loads(models, 90.0, lost=lost)
