"""Tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from shedproxy.cli.charts.table import Table

__all__ = ["print_line", "print_table"]

_TONES = {"good": "green", "bad": "red", "": ""}
_PLAIN_WIDTH = 160
"""Where nobody looks at it on a terminal, columns need not be squeezed."""


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def print_line(text: str, *, style: str = "") -> None:
    """One line."""
    _console().print(text, style=style, markup=False, soft_wrap=True)


def print_table(table: Table) -> None:
    """A table with its title, and its note below."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=table.title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold"
    )
    for place, column in enumerate(table.columns):
        is_wordy = place == 0 or all(row[place].value is None for row in table.rows)
        shown.add_column(column, justify="left" if is_wordy else "right")
    for row in table.rows:
        shown.add_row(*(Text(cell.text, style=_TONES[cell.tone]) for cell in row))
    console = _console()
    console.print(shown)
    if table.note:
        console.print(table.note, style="dim", markup=False)
