"""The text of a file, and problems that point into it."""

from __future__ import annotations

import json
from typing import Any

from shedproxy.errors import DocumentInvalidError, Problem

__all__ = ["SourceText"]

_LONGEST_LINE = 160


class SourceText:
    """A file that was read: its name, as given, and what is in it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text.removeprefix("\ufeff")
        self.lines = self.text.splitlines()

    def invalid(self, message: str, *, line: int = 0, help: str = "") -> DocumentInvalidError:  # noqa: A002 - as in Problem
        """The error that this is wrong, at that line (from 1; 0: nowhere in particular)."""
        excerpt: tuple[tuple[int, str], ...] = ()
        if 0 < line <= len(self.lines):
            excerpt = ((line, self.lines[line - 1][:_LONGEST_LINE]),)
        length = max(1, len(excerpt[0][1])) if excerpt else 1
        problem = Problem(
            message=message,
            source=self.name,
            line=line if excerpt else 0,
            column=1 if excerpt else 0,
            length=length,
            help=help,
            excerpt=excerpt,
        )
        return DocumentInvalidError([problem])

    def number(self, text: str, *, line: int, what: str) -> float:
        """`text` as a number that is not negative.

        Raises:
            DocumentInvalidError: it is none.
        """
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise self.invalid(
                f"{what} is {text!r}, which is no number from 0 up",
                line=line,
                help="the file is damaged or was edited; export it again",
            )
        return value

    def as_json(self) -> Any:
        """The JSON value that the text is.

        Raises:
            DocumentInvalidError: it is none, with the line.
        """
        try:
            return json.loads(self.text)
        except json.JSONDecodeError as error:
            raise self.invalid(
                f"not JSON: {error.msg}",
                line=min(error.lineno, len(self.lines)),
                help="was the run stopped before the file was whole?",
            ) from error
        except RecursionError as error:
            raise self.invalid("not a summary: nested too deeply") from error

    def line_of(self, wanted: str) -> int:
        """The number of the first line with this in it; 0: none has."""
        return next((i for i, line in enumerate(self.lines, 1) if wanted in line), 0)
