"""The text of a file, and problems that point into it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from shedproxy.core import Nanos
from shedproxy.errors import DocumentInvalidError, Problem

__all__ = ["NUMBER_MAX", "SourceText"]

_LONGEST_LINE, _LONGEST_NUMBER = 160, 40
NUMBER_MAX = 1e15
"""No count, rate or length in a load test is larger, in any unit."""


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
        if not 0 <= value <= NUMBER_MAX:
            raise self.invalid(
                f"{what} is {text[:_LONGEST_NUMBER]!r}, which is no number from 0 to 1e15",
                line=line,
                help="the file is damaged or was edited; export it again",
            )
        return value

    def found(self, text: str, what: str) -> float:
        """`text`, which stands somewhere in the file, as a number that is not negative.

        Raises:
            DocumentInvalidError: it is none, with the first line that has it.
        """
        return self.number(text, line=self.line_of(text), what=what)

    def checked(
        self, percentiles: Iterable[tuple[float, Nanos]], *, line: int = 0
    ) -> tuple[tuple[float, Nanos], ...]:
        """(share 0..1, latency) of one distribution, by share.

        Raises:
            DocumentInvalidError: a share is none, or latencies fall where they should rise.
        """
        ordered = tuple(sorted(percentiles))
        for share, _ in ordered:
            if share > 1:
                raise self.invalid(
                    f"there is no {100 * share:g}th percentile: 100 is all there are", line=line
                )
        for (low, less), (high, more) in pairwise(ordered):
            if more < less:
                raise self.invalid(
                    f"percentile {100 * high:g} is less than percentile {100 * low:g}",
                    line=line,
                    help="the file is damaged or was edited; export it again",
                )
        return ordered

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
        except ValueError as error:
            raise self.invalid("not a summary: a number in it has thousands of digits") from error

    def line_of(self, wanted: str) -> int:
        """The number of the first line with this in it; 0: none has."""
        return next((i for i, line in enumerate(self.lines, 1) if wanted in line), 0)
