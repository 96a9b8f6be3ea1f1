"""Documents that cross a process boundary, pure: data, codec, rules. The only door is here."""

from shedproxy.snapshot.document import (
    CONTROL_PATHS,
    Classification,
    Document,
    Match,
    ProxyDocument,
    RejectDocument,
    Rule,
    Timeouts,
    TlsDocument,
    UpstreamDocument,
)
from shedproxy.snapshot.rules import RuleTable, normalise_path, unreachable

__all__ = [
    "CONTROL_PATHS",
    "Classification",
    "Document",
    "Match",
    "ProxyDocument",
    "RejectDocument",
    "Rule",
    "RuleTable",
    "Timeouts",
    "TlsDocument",
    "UpstreamDocument",
    "normalise_path",
    "unreachable",
]
