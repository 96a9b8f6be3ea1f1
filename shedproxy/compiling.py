"""What a class can tell the compiler that makes it (mypyc), and nobody else.

Interpreted it means nothing, and `mypy_extensions` need not be there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

__all__ = ["mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**_: bool | int) -> Callable[[type], type]:
        """`acyclic`: no instance leads back to itself, so that the collector need not know of it.

        `free_list_len=1`: the memory of one that is gone is kept for the next.
        """
        return lambda marked: marked
