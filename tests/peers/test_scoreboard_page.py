"""A browser without a network opens the scoreboard page: its charts, its tables, its controls."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import pytest
from harness.browser import Browser
from harness.scoreboards import scoreboard

from shedproxy.cli.scoreboard_page import render_scoreboard
from shedproxy.testing import eventually

pytestmark = [pytest.mark.integration, pytest.mark.peers("chromium")]

FIRST = "document.querySelector('details.scenario')"

INKED = """[...document.querySelectorAll('.plot canvas')].map(canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    const ours = getComputedStyle(document.documentElement).getPropertyValue('--line-0').trim();
    let count = 0;
    for (let i = 0; i < data.length; i += 4)
        count += parseInt(ours.slice(1), 16) === (data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
    return count;
})"""
"""For each chart, how many pixels have the colour of our line, which is in every chart."""

PICTURES = "[...document.querySelectorAll('.plot canvas')].map(canvas => canvas.toDataURL())"

CELLS = """table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => {
    const below = cell.querySelector('small')?.textContent ?? null;
    const whole = cell.textContent;
    return [below ? whole.slice(0, -below.length) : whole, below];
}))"""


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return scoreboard(scenario_count=6, controller_count=7)


@pytest.fixture(scope="module")
def url(board: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "scoreboard.html"
    file.write_text(render_scoreboard(board))
    return file.as_uri()


def open_first(page: Browser) -> None:
    page.run(f"{FIRST}.open = true")
    eventually(lambda: page.run("!!document.querySelector('.plot canvas')"), what="charts")
    page.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_charts_are_drawn_when_their_section_is_opened(page: Browser) -> None:
    """All of them, with our line from one side to the other."""
    assert page.run("document.querySelectorAll('canvas').length") == 0
    open_first(page)
    inked = page.run(INKED)
    width = page.run("document.querySelector('.u-over').clientWidth")
    assert len(inked) == 7
    assert all(count > width for count in inked), (inked, width)
    assert page.run(f"{FIRST}.querySelectorAll('figcaption').length") == 7


RESULT_KEYS = (
    *("goodput_ratio", "regret", "p99_ms", "p99_ratio", "false_refusal_ratio", "inversion_ratio"),
    *("fairness", "recovery_s", "drift_ratio", "refused_ratio", "completions"),
)


def number(text: str) -> tuple[float, float]:
    """What a cell says, and half of its last digit."""
    plain = text.removesuffix("%").replace(",", "")
    scale = 0.01 if text.endswith("%") else 1.0
    decimals = len(plain.partition(".")[2])
    return float(plain) * scale, 0.51 * scale * 10.0**-decimals


def says(text: str, value: float | None) -> bool:
    if value is None:
        return text == "-"
    shown, half = number(text)
    return abs(shown - value) <= half


def test_tables_say_what_the_board_says(page: Browser, board: dict[str, Any]) -> None:
    """Every number of every scenario's table, median and worst, to the digits shown."""
    for at, scenario in enumerate(board["scenarios"]):
        section = f"document.getElementById('scenario-{scenario['name']}')"
        rows = page.run(f"({CELLS})({section}.querySelector('table'))")
        keys = [key for key in RESULT_KEYS if scenario["results"][0][key] is not None]
        results = {result["controller"]: result for result in scenario["results"]}
        assert len(rows) == len(results), at
        for (name, _), (score, _), *cells in rows:
            result = results[name.split()[0]]
            assert says(score, result["score"])
            for key, (median, worst) in zip(keys, cells, strict=True):
                pair = result[key] or {"median": None, "worst": None}
                assert says(median, pair["median"]), (name, key)
                assert says(worst or median, pair["worst"]), (name, key)


def test_the_matrix_sorts_by_a_column_and_back(page: Browser) -> None:
    read = f"({CELLS})(document.querySelector('.matrix'))"
    press = "document.querySelectorAll('.matrix thead button')[2].click()"
    before = page.run(read)
    scores = [float(row[2][0]) for row in before]
    seen = []
    for _ in range(3):
        page.run(press)
        seen.append([float(row[2][0]) for row in page.run(read)])
    assert seen[0] == sorted(scores, reverse=True)
    assert seen[1] == sorted(scores)
    assert page.run(read) == before
    assert scores not in (seen[0], seen[1])


def test_every_named_column_sorts_and_the_drawn_one_does_not(page: Browser) -> None:
    heads = page.run(
        "[...document.querySelectorAll('table.sortable')[0].tHead.rows[0].cells]"
        ".map(head => [head.textContent, !!head.querySelector('button')])"
    )
    assert [text for text, sorts in heads if not sorts] == [heads[2][0]]
    assert heads[2][0].endswith("1.00")


def test_the_filter_leaves_what_it_names(page: Browser) -> None:
    """Rows, sections and the headings of groups; in any case of letters, and all words of it."""
    shown = "[...document.querySelectorAll('{}')].filter(item => item.checkVisibility()).length"

    def kept(text: str) -> tuple[int, int, int, str]:
        page.run(
            "(() => { const field = document.querySelector('[data-filter]');"
            f"field.value = '{text}'; field.dispatchEvent(new Event('input')); }})()"
        )
        return (
            page.run(shown.format(".matrix tbody tr")),
            page.run(shown.format("details.scenario")),
            page.run(shown.format("#scenarios h3")),
            page.run("document.querySelector('output').textContent"),
        )

    assert kept("") == (6, 6, 4, "6 scenarios")
    assert kept("FAULTS") == (1, 1, 1, "1 of 6 shown")
    assert kept("slots variant") == (6, 6, 4, "6 of 6 shown")
    assert kept("slots nowhere") == (0, 0, 0, "0 of 6 shown")
    assert kept("") == (6, 6, 4, "6 scenarios")


def test_a_link_opens_its_scenario(page: Browser) -> None:
    link = "document.querySelector('.matrix tbody a')"
    name = page.run(f"{link}.hash.slice(1)")
    page.run(f"{link}.click()")
    eventually(lambda: page.run(f"document.getElementById('{name}').open"), what="it being open")
    page.run(f"document.getElementById('{name}').open = false")
    page.run(f"{link}.click()")
    eventually(lambda: page.run(f"document.getElementById('{name}').open"), what="it open again")


def test_the_legend_hides_a_controller_in_every_chart(page: Browser) -> None:
    open_first(page)
    button = "[...document.querySelectorAll('.keys button')].find(b => b.textContent === 'vegas')"
    before = page.run(PICTURES)
    page.run(f"{button}.click()")
    page.run("new Promise(done => setTimeout(done, 50))")
    after = page.run(PICTURES)
    assert page.run(f"{button}.getAttribute('aria-pressed')") == "false"
    changed = [one != two for one, two in zip(before, after, strict=True)]
    assert changed == [True] * 6 + [False], "the baseline is ours alone"


def test_arrow_keys_read_the_values_out(page: Browser, board: dict[str, Any]) -> None:
    open_first(page)
    page.run("document.querySelectorAll('.plot')[1].focus()")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.command("Input.dispatchKeyEvent", type="keyDown", key=key)
    said = page.run("document.querySelectorAll('[aria-live=polite]:not(output)')[1].textContent")
    series = board["scenarios"][0]["series"]
    refused = series["controllers"]["shedproxy"]["refused_rps"][1]
    assert said.startswith(f"{series['t_s'][1]:.4g} s: ")
    assert f"shedproxy {refused:.4g}" in said
    tips = page.run("[...document.querySelectorAll('.tip')].map(tip => tip.checkVisibility())")
    assert tips == [at == 1 for at in range(7)]


def test_every_chart_has_its_numbers_as_a_table(page: Browser, board: dict[str, Any]) -> None:
    open_first(page)
    page.run("document.querySelectorAll('.numbers').forEach(box => box.open = true)")
    rows = (
        "[...document.querySelectorAll('.numbers')].map(box => box.querySelectorAll('tr').length)"
    )
    points = len(board["scenarios"][0]["series"]["t_s"])
    eventually(lambda: page.run(rows) == [points + 1] * 7, what="tables with all points")


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_no_width_makes_the_page_itself_scroll_sideways(
    page: Browser, url: str, width: int
) -> None:
    page.open(url, width=width)
    open_first(page)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_dark_is_followed_by_the_charts_too(page: Browser, url: str) -> None:
    def look() -> tuple[str, list[str]]:
        open_first(page)
        return (
            page.run("getComputedStyle(document.body).backgroundColor"),
            page.run(PICTURES),
        )

    light = look()
    page.open(url, is_dark=True)
    dark = look()
    assert light[0] != dark[0]
    assert all(one != two for one, two in zip(light[1], dark[1], strict=True))


def test_it_prints_and_looks_as_before_afterwards(page: Browser) -> None:
    open_first(page)
    before = page.run(PICTURES)
    printed = base64.b64decode(page.command("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert printed.startswith(b"%PDF")
    assert page.run("'print' in document.documentElement.dataset") is False
    eventually(lambda: page.run(PICTURES) == before, what="charts as before")


def test_text_of_a_board_runs_nothing(
    browser: Browser, board: dict[str, Any], tmp_path: Path
) -> None:
    bad = copy.deepcopy(board)
    attack = (
        "</script><img src=x onerror='window.attacked = 1'><script>window.attacked = 2</script>"
    )
    bad["command"] = attack
    for scenario in bad["scenarios"]:
        scenario.update(title=attack, explanation=attack)
        scenario["results"][2]["controller"] = attack
        columns = scenario["series"]["controllers"]
        columns[attack] = columns.pop("gradient2")
    for row in bad["overall"]:
        row["controller"] = attack if row["controller"] == "gradient2" else row["controller"]
    file = tmp_path / "bad.html"
    file.write_text(render_scoreboard(bad))
    browser.open(file.as_uri())
    open_first(browser)
    assert browser.run("typeof window.attacked") == "undefined"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert attack in browser.run("document.querySelector('.keys').textContent")
    assert browser.complaints == []


def test_without_scripts_the_tables_are_all_there(browser: Browser, url: str) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(url)
        shown = browser.run("[...document.querySelectorAll('.matrix td')].length")
        assert shown == 6 * 7
        assert browser.run("document.querySelector('.tools').checkVisibility()") is False
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)
