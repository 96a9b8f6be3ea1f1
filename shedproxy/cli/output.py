"""What commands say on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from shedproxy.errors import Problem

__all__ = ["has_color", "print_problems"]


def has_color(stream: TextIO) -> bool:
    """Whether to colour a stream: terminals, unless NO_COLOR is set; FORCE_COLOR wins."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_problems(problems: Sequence[Problem]) -> None:
    """Print problems on standard error, with carets; nothing when there are none."""
    from shedproxy.settings import render_problems

    sys.stderr.write(render_problems(problems, color=has_color(sys.stderr)))
