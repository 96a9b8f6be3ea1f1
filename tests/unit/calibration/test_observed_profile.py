"""What live traffic bears out becomes a profile that says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

from harness.calibrations import a_plan
from harness.observed import seen

from shedproxy.calibration.measurement import Confidence
from shedproxy.calibration.observed_profile import conclude_observed
from shedproxy.calibration.profile_file import write_profile
from shedproxy.calibration.provenance import make_provenance
from shedproxy.calibration.results import Calibration, decode_calibration, encode_calibration
from shedproxy.observability.load_points import LoadPoint
from shedproxy.settings import load_settings
from shedproxy.snapshot import CellProfile

MADE = make_provenance(
    target="http://127.0.0.1:9900", command="x", started_s=1.8e9, source="observed"
)


def concluded(points: list[LoadPoint], *, age_s: float = 60.0, cell: str = "default"):
    now_s = max((point.at_s for point in points), default=0.0) + age_s
    return conclude_observed(points, a_plan(), MADE, cell=cell, now_s=now_s)


def profile_of(
    calibration: Calibration, file: Path
) -> tuple[dict[str, object], CellProfile | None]:
    write_profile(calibration, file)
    loaded = load_settings(file, environ={})
    profiles = loaded.document.profiles
    return (
        {change.key: change.after for change in calibration.thresholds.changes},
        profiles[0] if profiles else None,
    )


def test_a_knee_that_was_seen_is_a_whole_profile(tmp_path: Path) -> None:
    calibration = concluded(seen(4, 20.0, "exponential", upto=0.95))
    assert calibration.verdict.confidence is Confidence.MEDIUM
    assert "nothing was played" in calibration.verdict.reasons[-1]
    changes, profile = profile_of(calibration, tmp_path / "a.toml")
    assert changes["cell.default.limit.initial"] == "5"
    assert changes["cell.default.limit.max"] == "8"
    assert profile is not None
    assert 180 < profile.capacity_rps < 220
    text = (tmp_path / "a.toml").read_text()
    assert 'source = "observed"' in text
    assert decode_calibration(json.dumps(encode_calibration(calibration))) == calibration


def test_without_a_knee_it_is_a_floor_and_no_more(tmp_path: Path) -> None:
    calibration = concluded(seen(16, 40.0, "exponential", upto=0.6))
    assert calibration.verdict.confidence is Confidence.MEDIUM
    assert "floor only" in calibration.verdict.headline
    changes, profile = profile_of(calibration, tmp_path / "a.toml")
    assert set(changes) == {"cell.default.limit.initial", "cell.default.limit.min"}
    assert changes["cell.default.limit.min"] == str(int(calibration.observed.highest_in_flight))
    assert profile is not None
    assert not profile.has_curve


def test_too_little_is_nothing_to_write() -> None:
    calibration = concluded(seen(4, 20.0, "exponential", upto=0.9, count=5))
    assert calibration.verdict.confidence is Confidence.INCONCLUSIVE
    assert calibration.thresholds is None
    assert calibration.verdict.reasons[0].startswith("not enough data: 5 ")
    assert concluded([]).thresholds is None


def test_what_is_old_or_changed_is_said() -> None:
    before = seen(4, 20.0, "exponential", upto=0.6)
    old = concluded(before, age_s=3 * 86_400.0)
    assert "the last point is 3 days old" in old.verdict.reasons
    after = [
        point._replace(at_s=point.at_s + 1e6) for point in seen(4, 30.0, "exponential", upto=0.6)
    ]
    changed = concluded([*before, *after])
    assert changed.verdict.confidence is Confidence.INCONCLUSIVE
    assert "service time became" in changed.verdict.reasons[0]


def test_it_is_of_the_cell_and_the_upstreams_that_were_seen() -> None:
    points = [point._replace(upstreams=3) for point in seen(4, 20.0, "exponential", upto=0.95)]
    (cell,) = concluded(points, cell="reports").thresholds.cells
    assert (cell.name, cell.upstream_weight) == ("reports", 3)
