"""Keep any HTTP service inside its measured capacity, whatever is thrown at it.

Public names are imported when first used: `import shedproxy` costs a few milliseconds and never
imports asyncio or a third-party package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from shedproxy.core import CellPolicy as CellPolicy
    from shedproxy.core import Criticality as Criticality
    from shedproxy.core import LimitPolicy as LimitPolicy
    from shedproxy.core import Mode as Mode
    from shedproxy.core import Policy as Policy
    from shedproxy.core import QueuePolicy as QueuePolicy
    from shedproxy.core import RejectReason as RejectReason
    from shedproxy.dataplane.asgi import ShedMiddleware as ShedMiddleware
    from shedproxy.dataplane.asgi import criticality as criticality
    from shedproxy.errors import ShedproxyError as ShedproxyError
    from shedproxy.snapshot import Document as Document
    from shedproxy.snapshot import Match as Match
    from shedproxy.snapshot import Rule as Rule

_HOME = {
    "CellPolicy": "shedproxy.core",
    "Criticality": "shedproxy.core",
    "Document": "shedproxy.snapshot",
    "LimitPolicy": "shedproxy.core",
    "Match": "shedproxy.snapshot",
    "Mode": "shedproxy.core",
    "Policy": "shedproxy.core",
    "QueuePolicy": "shedproxy.core",
    "RejectReason": "shedproxy.core",
    "Rule": "shedproxy.snapshot",
    "ShedMiddleware": "shedproxy.dataplane.asgi",
    "ShedproxyError": "shedproxy.errors",
    "criticality": "shedproxy.dataplane.asgi",
}

__all__ = [  # noqa: PLE0604 - the names of _HOME, and the version
    *sorted(_HOME),
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'shedproxy' has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - only when a public name is first used

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
