"""A browser without a network opens a calibration report: charts, tables, widths, paper."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from harness.browser import Browser
from harness.sample_report import sample_calibration

from shedproxy.calibration.comparison import compare
from shedproxy.calibration.results import Calibration, encode_calibration
from shedproxy.cli.calibration_page import render_calibration
from shedproxy.cli.comparison_views import comparison_table
from shedproxy.testing import eventually

pytestmark = [pytest.mark.integration, pytest.mark.peers("chromium")]

_INKED = """[...document.querySelectorAll('.plot canvas')].map(canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] === 255) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
    const colours = [...Array(8).keys()].map(hue => parseInt(getComputedStyle(
        document.documentElement).getPropertyValue(`--line-${hue}`).trim().slice(1), 16));
    return colours.filter(colour => seen.has(colour)).length;
})"""
"""For each chart, how many of the colours of lines are on it."""

_TABLE = """name => [...document.querySelector(`[data-table="${name}"]`).tBodies[0].rows].map(
    row => [...row.cells].map(cell => [cell.textContent, cell.dataset.value ?? null]))"""


_TALL_NAMES = """[...document.querySelectorAll('tbody th')].filter(name => {
    const line = parseFloat(getComputedStyle(name).lineHeight), text = document.createRange();
    text.selectNodeContents(name);
    const words = name.textContent.split(/[^a-z0-9]+/i).length;
    return text.getBoundingClientRect().height > (words + 0.5) * line;
}).map(name => name.textContent)"""
"""Names of rows that take more lines than they have words."""


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return sample_calibration()


@pytest.fixture(scope="module")
def url(calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    table = comparison_table(compare(sample_calibration(wobble=3), calibration))
    file.write_text(render_calibration(calibration, comparison=table))
    return file.as_uri()


def painted(page: Browser) -> None:
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_every_chart_is_drawn(page: Browser) -> None:
    """Eleven charts of six panels, each with at least one line or dot in its colour."""
    painted(page)
    assert page.run("document.querySelectorAll('.panel').length") == 6
    inked = page.run(_INKED)
    assert len(inked) == 11
    assert all(inked), inked


def close(text: str, value: float) -> bool:
    """Whether `text`, to its own digits, is `value`."""
    plain = text.split(" ")[0].removesuffix("%").replace(",", "")
    scale = 0.01 if "%" in text.split(" ")[0] else 1.0
    decimals = len(plain.partition(".")[2])
    slack = max(0.51 * 10.0**-decimals, 1e-3 * abs(float(plain)))
    return abs(float(plain) - value / scale) <= slack


def test_tables_are_the_report(page: Browser, calibration: Calibration) -> None:
    """Every number of the main tables beside its field of report.json."""
    body: dict[str, Any] = encode_calibration(calibration)
    steps = {
        phase: [step for step in body["steps"] if step["phase"] == phase]
        for phase in ("closed", "open")
    }
    wanted = {
        "concurrency": [
            [s["in_flight"], s["throughput_rps"], s["latency"]["p99_ns"] / 1e6]
            for s in steps["closed"]
        ],
        "rates": [[s["offered_rps"], s["throughput_rps"], s["goodput_rps"]] for s in steps["open"]],
        "verification": [
            [run["offered_rps"], run["goodput_rps"], run["goodput_ratio"]]
            for run in body["verification"]
        ],
    }
    places = {"concurrency": (2, 3, 7), "rates": (2, 3, 4), "verification": (1, 2, 3)}
    for name, rows in wanted.items():
        shown = page.run(f"({_TABLE})('{name}')")
        assert len(shown) == len(rows)
        for cells, values in zip(shown, rows, strict=True):
            for place, value in zip(places[name], values, strict=True):
                text, carried = cells[place]
                assert float(carried) == pytest.approx(value, rel=1e-9), (name, text)
                assert close(text, value), (name, text, value)


def test_estimates_are_the_report(page: Browser, calibration: Calibration) -> None:
    found = encode_calibration(calibration)["findings"]
    rows = {row[0][0]: row[1] for row in page.run(f"({_TABLE})('estimates')")}
    for label, field in (
        ("Capacity, answers/s", "capacity_rps"),
        ("Knee, in flight", "knee_in_flight"),
        ("Cost of a refusal over that of a request", "refusal_cost"),
    ):
        text, carried = rows[label]
        assert float(carried) == pytest.approx(found[field]["value"])
        assert close(text, found[field]["value"])


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_no_width_makes_the_page_itself_scroll_sideways_or_breaks_words(
    page: Browser, url: str, width: int
) -> None:
    page.open(url, width=width)
    painted(page)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run(_TALL_NAMES) == []


def test_dark_is_followed_by_the_charts_too(page: Browser, url: str) -> None:
    pictures = "[...document.querySelectorAll('.plot canvas')].map(canvas => canvas.toDataURL())"
    painted(page)
    light = page.run(pictures)
    page.open(url, is_dark=True)
    painted(page)
    assert all(one != two for one, two in zip(light, page.run(pictures), strict=True))


def test_long_tables_open(page: Browser) -> None:
    box = (
        "[...document.querySelectorAll('details.rows')].find(d => d.textContent.includes('Every'))"
    )
    assert page.run(f"{box}.open") is False
    page.run(f"{box}.querySelector('summary').click()")
    eventually(
        lambda: page.run(f"{box}.querySelector('table').checkVisibility()"), what="the table"
    )


def test_it_prints(page: Browser) -> None:
    painted(page)
    printed = base64.b64decode(page.command("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    assert page.run("'print' in document.documentElement.dataset") is False
