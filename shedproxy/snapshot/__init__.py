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

__all__ = [
    "CONTROL_PATHS",
    "Classification",
    "Document",
    "Match",
    "ProxyDocument",
    "RejectDocument",
    "Rule",
    "Timeouts",
    "TlsDocument",
    "UpstreamDocument",
]
