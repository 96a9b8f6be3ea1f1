"""How far our limit moves, and how sure of it what was seen must be. Numbers, and no code."""

from __future__ import annotations

from typing import Final

__all__ = [
    "FALL_ERRORS",
    "FALL_MAX",
    "FALL_MIN",
    "GROWTH_MAX",
    "MEMORY",
    "RAMP_END_ERRORS",
    "RISE_ERRORS",
    "RISE_MAX",
    "RISE_MIN",
    "SHRINK_MAX",
]

GROWTH_MAX: Final = 1.5
"""Most the ramp rises in a window: from 8 to hundreds in ten of them."""
SHRINK_MAX: Final = 0.5
"""Least of its level that is left where it ends."""
RISE_MAX: Final = 1.1
"""Most a settled limit rises: what ends first after a rise is what was short."""
FALL_MAX: Final = 0.85
"""And what is left of it after a fall: one pause of the service must not halve it."""
RAMP_END_ERRORS: Final = 1.5
"""Latency above target by so many of its errors ends the ramp."""
RISE_ERRORS, RISE_MIN = 0.5, 0.02
"""A move up has to be so many errors, and this share of the level: up on the lesser doubt,"""
FALL_ERRORS, FALL_MIN = 1.0, 0.03
"""and one down so many: too low a limit costs more than too high a one."""
MEMORY: Final = 400.0
"""Samples of evidence, times 1 + scatter: then the strain is known to 7 % or better."""
