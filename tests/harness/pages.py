"""Reads HTML pages the way a test asks about them: tables by caption, and what refers outside."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Page"]


class Page(HTMLParser):
    """A parsed page; reading it fails on an element that is not closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        """By caption, the cells of each row, head first; a `/` before the second line of one."""
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.data: list[str] = []
        """Content of script elements of data."""
        self._open: list[str] = []
        self._table: list[list[str]] | None = None
        self.feed(markup)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "table":
            self._table = []
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in {"td", "th"} and self._table is not None:
            self._table[-1].append("")
        elif tag == "small" and self._table:
            self._table[-1][-1] += "/"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            if dict(self.elements[-1][1]).get("type") == "application/json":
                self.data.append(data)
        elif "caption" in self._open and self._table is not None:
            self.tables[data] = self._table
        elif "style" not in self._open:
            self.text += data
            if {"td", "th"} & set(self._open) and self._table:
                self._table[-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")
