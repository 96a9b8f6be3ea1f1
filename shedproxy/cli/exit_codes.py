"""What a command tells a script when it ends: one meaning per number, whichever command it is.

0 is done, 2 also what typer says of a command line it cannot read.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "EXIT_CONFIG",
    "EXIT_FAILED",
    "EXIT_INCONCLUSIVE",
    "EXIT_INTERRUPTED",
    "EXIT_REGRESSED",
    "EXIT_UNSAFE",
    "EXIT_USAGE",
]

EXIT_FAILED: Final = 1
"""It was tried, and not done; or what was expected is not so."""
EXIT_USAGE: Final = 2
"""What was asked for makes no sense."""
EXIT_CONFIG: Final = 3
"""A file or setting is wrong, a file that was named cannot be read or understood, or the start
failed by it."""
EXIT_INCONCLUSIVE: Final = 4
"""There is no result that could be trusted."""
EXIT_REGRESSED: Final = 5
"""`gate`: worse than it may be."""
EXIT_UNSAFE: Final = 6
"""Load would reach a host that nobody has named."""
EXIT_INTERRUPTED: Final = 130
"""Ctrl-C, as a shell says it."""
