"""Which of the two builds this is: compiled modules, or the same modules as pure Python."""

from __future__ import annotations

from typing import Final

from shedproxy.observability import meter

__all__ = ["BUILD"]

BUILD: Final = "pure Python" if str(meter.__file__).endswith(".py") else "compiled"
"""Shown by `shedproxy --version` and `/-/status`."""
