"""Documents that cross a process boundary, pure: data, codec, rules. The only door is here."""

from shedproxy.snapshot.cell_numbers import CELLS_MAX, number_cells
from shedproxy.snapshot.codec import (
    DOCUMENT_SIZE_MAX,
    decode_document,
    document_digest,
    encode_document,
    from_plain,
    to_plain,
)
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
from shedproxy.snapshot.rules import RuleTable, normalise_path, path_readings, unreachable

__all__ = [
    "CELLS_MAX",
    "CONTROL_PATHS",
    "DOCUMENT_SIZE_MAX",
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
    "decode_document",
    "document_digest",
    "encode_document",
    "from_plain",
    "normalise_path",
    "number_cells",
    "path_readings",
    "to_plain",
    "unreachable",
]
