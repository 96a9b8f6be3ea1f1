"""Problems as people read them: headline, place, the line itself, a caret, a way out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence

from shedproxy.errors import Problem

__all__ = ["has_color", "render_problems"]

_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_BLUE = "\x1b[1;34m"
_CYAN = "\x1b[36m"
_SEVERITY_COLOR = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "hint": "\x1b[1;36m"}
_WIDTH_MAX = 160
_TAB = "    "


def has_color(*, is_terminal: bool) -> bool:
    """Whether to colour: terminals, unless NO_COLOR is set; FORCE_COLOR wins."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def render_problems(problems: Sequence[Problem], *, color: bool = False) -> str:
    """All problems, errors first, then a line that counts them; "" when there are none.

    Args:
        problems: in the order to show within one severity.
        color: whether to use ANSI colours; the text is the same without.
    """
    if not problems:
        return ""
    paint = _Paint(color=color)
    order = list(_SEVERITY_COLOR)
    ranked = sorted(problems, key=lambda problem: order.index(problem.severity))
    blocks = ["\n".join(_block(problem, paint)) for problem in ranked]
    counts: Counter[str] = Counter(problem.severity for problem in problems)
    summary = ", ".join(
        f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}"
        for severity in order
        if counts[severity]
    )
    return "\n\n".join([*blocks, paint(_BOLD, summary)]) + "\n"


class _Paint:
    def __init__(self, *, color: bool) -> None:
        self._color = color

    def __call__(self, style: str, text: str) -> str:
        return f"{style}{text}{_RESET}" if self._color and text else text


def _block(problem: Problem, paint: _Paint) -> list[str]:
    style = _SEVERITY_COLOR[problem.severity]
    lines = [f"{paint(style, problem.severity)}{paint(_BOLD, f': {_safe(problem.message)}')}"]
    numbers = [str(number) if number else "" for number, _ in problem.excerpt]
    margin = " " * max(1, *map(len, [*numbers, str(problem.line)]))
    if problem.source:
        lines.append(f"{margin}{paint(_BLUE, '-->')} {_place(problem)}")
    bar = paint(_BLUE, "|")
    if problem.excerpt:
        lines.append(f"{margin} {bar}")
        for number, (_, text) in zip(numbers, problem.excerpt, strict=True):
            gutter = paint(_BLUE, f"{number:>{len(margin)}} |")
            lines.append(f"{gutter} {_safe(_window(text, problem)[0])}".rstrip())
        caret, pad = _caret(problem)
        note = f" {_safe(problem.note)}" if problem.note else ""
        lines.append(f"{margin} {bar} {pad}{paint(style, f'{caret}{note}')}")
    elif problem.note:
        lines.append(f"{margin} {paint(_BLUE, '=')} {paint(_CYAN, 'note')}: {_safe(problem.note)}")
    if problem.help:
        lines.append(f"{margin} {paint(_BLUE, '=')} {paint(_CYAN, 'help')}: {_safe(problem.help)}")
    return lines


def _place(problem: Problem) -> str:
    if not problem.line:
        return _safe(problem.source)
    return f"{_safe(problem.source)}:{problem.line}:{problem.column}"


def _window(text: str, problem: Problem) -> tuple[str, int]:
    """What is shown of a long line, and how many characters were cut at its start."""
    if len(text) <= _WIDTH_MAX:
        return text, 0
    start = max(0, problem.column - 1 - _WIDTH_MAX // 2)
    return text[start : start + _WIDTH_MAX], start


def _caret(problem: Problem) -> tuple[str, str]:
    """The carets, and the blanks before them."""
    text, cut = _window(problem.excerpt[-1][1], problem)
    start = max(0, problem.column - 1 - cut)
    before, under = _safe(text[:start]), _safe(text[start : start + problem.length])
    return "^" * max(1, _width(under)), " " * _width(before)


def _width(text: str) -> int:
    """Columns that a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def _safe(text: str) -> str:
    """Text that cannot move the cursor or colour the terminal: it may come from anywhere."""
    text = text.replace("\t", _TAB)
    return "".join(char if char.isprintable() else "?" for char in text)
