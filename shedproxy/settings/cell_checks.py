"""Contradictions between cells, keys and what they are spread over."""

from __future__ import annotations

from collections.abc import Iterator

from shedproxy.errors import Problem
from shedproxy.settings.compile import cells_of
from shedproxy.settings.located import Check
from shedproxy.settings.models import Settings
from shedproxy.settings.shape import Path, nearest

__all__ = ["check_cells"]


def check_cells(settings: Settings, check: Check) -> Iterator[Problem]:
    """Every such contradiction."""
    yield from _check_names(settings, check)
    weights = settings.cells.weights
    if weights and not any(weights.values()):
        yield from check.error(
            ("cells", "weights"),
            "cells.weights leave no cell for anybody",
            note="all of them are 0",
        )


def _check_names(settings: Settings, check: Check) -> Iterator[Problem]:
    known = cells_of(settings)
    cells = settings.cells
    named: list[tuple[Path, str, bool]] = [(("cells", "default"), cells.default, False)]
    named += [(("cells", "weights", name), name, True) for name in cells.weights]
    named += [(("cells", "pins", key), name, False) for key, name in cells.pins.items()]
    for path, name, on_key in named:
        if name not in known:
            near = nearest(name, known)
            yield from check.error(
                path,
                f'there is no cell "{name}"',
                help_text=f'did you mean "{near}"?' if near else f"add a table [cell.{name}]",
                on_key=on_key,
            )
