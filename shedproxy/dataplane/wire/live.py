"""One document, compiled for serving. Replaced whole at a reload, by one reference.

An exchange keeps the `Live` it began with, so that every request is decided and served by one
document, and never by half of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shedproxy.core import Criticality
from shedproxy.dataplane.classify import Classifier
from shedproxy.dataplane.rejection import Rejections
from shedproxy.dataplane.trust import Trust
from shedproxy.dataplane.wire.field_memory import RequestFields
from shedproxy.dataplane.wire.headers import header_context
from shedproxy.snapshot import Document

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.server import WireServer
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["Live"]


class Live:
    """What requests are served by.

    Raises:
        ValueError: the document cannot be served: a URL or a network in it is none.
        OSError: a file that it names cannot be read.
    """

    __slots__ = (
        "_default_group",
        "_groups",
        "_server",
        "_trust",
        "classifier",
        "clock",
        "criticality_labels",
        "document",
        "driver",
        "header_context",
        "log",
        "proxy",
        "rejections",
        "request_fields",
        "timeouts",
    )

    def __init__(
        self, server: WireServer, document: Document, groups: dict[str, UpstreamGroup]
    ) -> None:
        self._server = server
        self._groups = groups
        self._default_group = next(iter(groups.values()))
        self.document = document
        self.proxy = document.proxy
        self.timeouts = document.proxy.timeouts
        self.classifier = Classifier(document.classification, document.policy)
        self._trust = Trust(document.classification.trusted_peers)
        self.rejections = Rejections(document.reject)
        classification = document.classification
        self.header_context = header_context(
            via=document.proxy.via,
            scheme="https" if server.is_tls else "http",
            preserve_host=document.proxy.preserve_host,
            forward_criticality=document.proxy.forward_criticality,
            criticality_header=classification.criticality_header,
            attempt_headers=classification.attempt_headers,
            policy_headers=_policy_headers(document),
        )
        self.request_fields = RequestFields(self.header_context.actions, self.classifier.wanted)
        self.criticality_labels = [member.label.encode() for member in Criticality]
        self.driver = server.driver
        self.log = server.log
        self.clock = server.clock

    def group_of(self, cell: str) -> UpstreamGroup:
        """The upstreams of a cell; cells without their own share the first's."""
        return self._groups.get(cell, self._default_group)

    def address_of(self, peer: str) -> bytes:
        """What a client's connections count under: its address, of IPv6 the /64.

        Empty for trusted proxies and unix sockets, which are many clients.
        """
        trust = self._trust
        return b"" if not peer or trust.believes(peer) else trust.caller_at(peer)

    def next_serial(self) -> int:
        """A number that no other request of this process has."""
        self._server.requests += 1
        return self._server.requests

    def keeps_clients(self, served: int) -> bool:
        """Whether a client's connection that has had `served` requests may have more."""
        most = self.proxy.requests_per_connection_max
        return not self._server.is_announcing and (not most or served < most)


def _policy_headers(document: Document) -> tuple[str, ...]:
    """Names that decisions are made by, besides criticality and attempt."""
    classification = document.classification
    names = [*classification.cohort_headers, *classification.deadline_headers]
    if classification.tenant_header and not classification.tenant_header.startswith("@"):
        names.append(classification.tenant_header)
    for rule in classification.rules:
        names += [name for name, _ in rule.match.header]
    return tuple(names)
