"""Markdown for a pull request."""

from __future__ import annotations

from dataclasses import replace

from harness.sample_report import sample_calibration

from shedproxy.calibration.comparison import compare
from shedproxy.cli.calibration_markdown import calibration_as_markdown
from shedproxy.cli.comparison_views import comparison_table


def test_verdict_changes_and_tables_are_there_in_order() -> None:
    text = calibration_as_markdown(sample_calibration())
    parts = [
        "# Calibration of http://127.0.0.1:8000", "**About 245 requests/s", "## What changes",
        "```toml\n[cell.default.limit]", "## Estimates", "<details><summary>", "## Method", "```sh",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.count("<details>") == text.count("</details>") == 8


def test_a_comparison_is_added() -> None:
    base = sample_calibration()
    text = calibration_as_markdown(base, comparison=comparison_table(compare(base, base)))
    assert "## Comparison" in text
    assert "within noise" in text


def test_without_changes_there_is_nothing_to_copy() -> None:
    text = calibration_as_markdown(replace(sample_calibration(), thresholds=None))
    assert "```toml" not in text
