"""A table as data, so that page, Markdown and tests show the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shedproxy.cli.charts.markup import Html, element

__all__ = ["Cell", "Table", "table_as_markdown", "table_markup"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and the number that it is of, where it is of one."""

    text: str
    value: float | None = None
    tone: str = ""
    """`good` or `bad`, where it is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The first column names the row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


_FEW_COLUMNS = 3
"""Of so few the values would be far from their names, were the table as wide as the page."""


def table_markup(table: Table, *, name: str, is_sortable: bool = True) -> Html:
    """The table; columns of words are set to the left, and may be broken."""
    wordy = [
        all(row[i].value is None for row in table.rows) and i > 0 for i in range(len(table.columns))
    ]
    head = [
        element("th", column, scope="col", class_=_class(i, wordy[i]))
        for i, column in enumerate(table.columns)
    ]
    body = [element("tr", *_cells(row, wordy)) for row in table.rows]
    classes = ["compact"] if len(table.columns) <= _FEW_COLUMNS else []
    if is_sortable and len(table.rows) > 2:
        classes.append("sortable")
    inner = element(
        "table",
        element("caption", table.title, class_="hidden"),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_=" ".join(classes) or None,
        data_table=name,
    )
    return element("div", inner, class_="scroll", tabindex="0")


def _class(column: int, is_wordy: bool) -> str | None:
    return "first" if column == 0 else "text wrap" if is_wordy else None


def _cells(row: Sequence[Cell], wordy: Sequence[bool]) -> list[Html]:
    found = [element("th", row[0].text, scope="row", class_="first")]
    for cell, is_wordy in zip(row[1:], wordy[1:], strict=True):
        mark = {"good": "✓ ", "bad": "✗ "}.get(cell.tone, "")
        classes = " ".join(part for part in ("text wrap" if is_wordy else "", cell.tone) if part)
        value = None if is_wordy else "" if cell.value is None else cell.value
        found.append(element("td", mark + cell.text, class_=classes or None, data_value=value))
    return found


def table_as_markdown(table: Table) -> str:
    """A table of Markdown as GitHub and GitLab read it."""
    lines = [
        _line(table.columns),
        _line(["---"] + ["---:" for _ in table.columns[1:]]),
        *(_line([_marked(cell) for cell in row]) for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def _marked(cell: Cell) -> str:
    return {"good": "✓ ", "bad": "✗ "}.get(cell.tone, "") + cell.text


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |"
