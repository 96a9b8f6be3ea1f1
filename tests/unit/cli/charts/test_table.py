"""A table is the same on the page and in Markdown."""

from __future__ import annotations

from harness.pages import Page

from shedproxy.cli.charts.table import Cell, Table, table_as_markdown, table_markup

TABLE = Table(
    title="Numbers",
    columns=["Name", "Value", "Why"],
    rows=[
        [Cell("a|b"), Cell("1.5", 1.5), Cell("<b>", None, "bad")],
        [Cell("c"), Cell("-"), Cell("so", None, "good")],
        [Cell("d"), Cell("2", 2), Cell("")],
    ],
)


def test_the_page_shows_every_cell_and_escapes_it() -> None:
    page = Page(table_markup(TABLE, name="numbers"))
    assert page.tables["Numbers"] == [
        ["Name", "Value", "Why"],
        ["a|b", "1.5", "✗ <b>"],
        ["c", "-", "✓ so"],
        ["d", "2", ""],
    ]


def test_numbers_carry_their_value_and_words_do_not() -> None:
    cells = [a for tag, a in Page(table_markup(TABLE, name="n")).elements if tag == "td"]
    assert [cell.get("data-value") for cell in cells] == ["1.5", None, "", None, "2", None]


def test_few_columns_are_kept_together_and_few_rows_are_not_sorted() -> None:
    def classes(table: Table) -> str | None:
        elements = Page(table_markup(table, name="n")).elements
        return next(a.get("class") for tag, a in elements if tag == "table")

    assert classes(TABLE) == "compact sortable"
    assert classes(Table(title="t", columns=["a", "b"], rows=TABLE.rows[:0])) == "compact"
    wide = Table(title="t", columns=list("abcd"), rows=[[Cell("x")] * 4] * 3)
    assert classes(wide) == "sortable"


def test_markdown_has_bars_of_its_own_only() -> None:
    assert table_as_markdown(TABLE).splitlines() == [
        "| Name | Value | Why |",
        "| --- | ---: | ---: |",
        "| a\\|b | 1.5 | ✗ <b> |",
        "| c | - | ✓ so |",
        "| d | 2 |  |",
    ]
