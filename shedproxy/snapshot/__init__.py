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
from shedproxy.snapshot.memory import (
    ROUTES_MAX,
    STATE_SIZE_MAX,
    State,
    decode_state,
    encode_state,
    merge_memories,
    plain_memory,
    read_memory,
)
from shedproxy.snapshot.profile import CellProfile
from shedproxy.snapshot.rules import (
    UNDECIDED,
    RuleTable,
    normalise_path,
    path_readings,
    unreachable,
)

__all__ = [
    "CELLS_MAX",
    "CONTROL_PATHS",
    "DOCUMENT_SIZE_MAX",
    "ROUTES_MAX",
    "STATE_SIZE_MAX",
    "UNDECIDED",
    "CellProfile",
    "Classification",
    "Document",
    "Match",
    "ProxyDocument",
    "RejectDocument",
    "Rule",
    "RuleTable",
    "State",
    "Timeouts",
    "TlsDocument",
    "UpstreamDocument",
    "decode_document",
    "decode_state",
    "document_digest",
    "encode_document",
    "encode_state",
    "from_plain",
    "merge_memories",
    "normalise_path",
    "number_cells",
    "path_readings",
    "plain_memory",
    "read_memory",
    "to_plain",
    "unreachable",
]
