"""What commands say on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from shedproxy.errors import Problem

__all__ = ["print_problems"]


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems on standard error, with carets; nothing when there are none."""
    from shedproxy.settings import has_color, render_problems

    color = has_color(is_terminal=sys.stderr.isatty())
    sys.stderr.write(render_problems(problems, color=color))
