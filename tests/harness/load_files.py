"""Files that other load tools left, kept for the tests of what reads them."""

from __future__ import annotations

from pathlib import Path

from shedproxy.calibration.imports.source_text import SourceText

__all__ = ["FILES", "load_file"]

FILES = Path(__file__).parents[1] / "unit/calibration/imports/files"


def load_file(name: str, *, instead: tuple[str, str] | None = None) -> SourceText:
    """That file, with one text in it replaced by another."""
    text = (FILES / name).read_text()
    if instead is not None:
        assert instead[0] in text
        text = text.replace(*instead)
    return SourceText(name, text)
