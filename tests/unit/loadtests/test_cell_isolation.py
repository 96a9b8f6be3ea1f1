"""What the others of an overloaded cell notice; live: `python -m loadtests cell-isolation`."""

from __future__ import annotations

from typing import Any

from loadtests.cell_isolation import ARMS, Arm, promises, settings_text, summary
from shedproxy.core import milliseconds
from shedproxy.settings import load_settings


def found(loud_ms: float, *, missed: int = 0) -> dict[str, dict[str, Any]]:
    took = dict(zip(ARMS, (100.0, 101.0, loud_ms), strict=True))
    return summary(
        {
            name: Arm(
                took_ns=[milliseconds(ms)] * 99, missed=missed, loud_missed=5 * (name == "loud")
            )
            for name, ms in took.items()
        }
    )


def test_within_ten_per_cent_of_both_calm_parts_is_kept_and_more_is_said() -> None:
    assert promises(found(111.0)) == []
    assert promises(found(112.0)) == ["the others' p99 is 1.109 times what it was"]
    assert found(112.0)["calm again"]["p99_ratio"] == 1.01
    assert promises(found(100.0, missed=2)) == ["2 requests of others were refused or lost"]


def test_without_an_overload_nothing_was_shown() -> None:
    calm = found(100.0)
    assert promises(calm | {"loud": calm["calm"]}) == ["the loud cell was not overloaded"]


def test_each_cell_has_a_service_and_a_limit_of_its_own(tmp_path) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in (1, 2, 3, 4)]
    file = tmp_path / "shedproxy.toml"
    file.write_text(settings_text(urls))
    cells = load_settings(file).settings.cell
    assert [cells[name].upstream for name in "abcd"] == [[url] for url in urls]


def test_the_loud_one_may_spill_to_the_next(tmp_path) -> None:
    file = tmp_path / "shedproxy.toml"
    urls = [f"http://127.0.0.1:{port}" for port in (1, 2, 3, 4)]
    file.write_text(settings_text(urls, slots=16, spills=True))
    cells = load_settings(file).settings.cell
    assert (cells["a"].spill.to, cells["a"].spill.classes) == (["b"], ["critical"])
    assert [cells[name].limit.initial for name in "abcd"] == [16] * 4
