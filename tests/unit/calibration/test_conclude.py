"""From what was measured to a verdict."""

from __future__ import annotations

import json
import random

from harness.calibrations import a_plan, rehearsed

from shedproxy.calibration.conclude import conclude
from shedproxy.calibration.measurement import Confidence
from shedproxy.calibration.provenance import make_provenance
from shedproxy.calibration.results import decode_calibration, encode_calibration
from shedproxy.calibration.run import Measured

MADE = make_provenance(target="t", command="c", started_s=0.0)


def test_a_rehearsed_calibration_has_thresholds_and_survives_json() -> None:
    steps, _ = rehearsed(a_plan(), seed=1, law="constant")
    whole = conclude(a_plan(), Measured(steps=steps), MADE, rng=random.Random(1))
    assert whole.thresholds is not None
    assert whole.thresholds.changes
    assert whole.verdict.limit == whole.thresholds.cells[0].start
    assert decode_calibration(json.dumps(encode_calibration(whole))) == whole


def test_nothing_measured_is_inconclusive() -> None:
    whole = conclude(a_plan(), Measured(stopped_by="broken"), MADE, rng=random.Random(1))
    assert whole.thresholds is None
    assert whole.verdict.confidence is Confidence.INCONCLUSIVE
    assert whole.verdict.reasons[0] == "broken"
