"""One document, compiled for serving. Replaced whole at a reload, by one reference.

An exchange keeps the `Live` it began with, so that every request is decided and served by one
document, and never by half of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shedproxy.core import NS_PER_S, Criticality, Instant
from shedproxy.dataplane.classify import Classifier, Read
from shedproxy.dataplane.rejection import Rejections
from shedproxy.dataplane.trust import Trust
from shedproxy.dataplane.wire.field_memory import RequestFields
from shedproxy.dataplane.wire.framing import RequestFraming
from shedproxy.dataplane.wire.headers import header_context
from shedproxy.dataplane.wire.http_date import http_date
from shedproxy.dataplane.wire.tokens import RequestTokens
from shedproxy.snapshot import Document

if TYPE_CHECKING:
    from shedproxy.dataplane.wire.server import WireServer
    from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["Live"]

_QUERY: Final = ord("?")
"""As a number: bytes are first taken for one."""


class Live:
    """What requests are served by.

    Raises:
        ValueError: the document cannot be served: a URL or a network in it is none.
        OSError: a file that it names cannot be read.
    """

    __slots__ = (
        "_date",
        "_date_second",
        "_default_group",
        "_groups",
        "_keys",
        "_method",
        "_method_bytes",
        "_reads_all",
        "_server",
        "_trust",
        "body_size_max",
        "classifier",
        "clock",
        "criticality_labels",
        "document",
        "driver",
        "field_count_max",
        "forwards_pressure",
        "head_size_max",
        "header_context",
        "idle_ns",
        "log",
        "proxy",
        "rejections",
        "request_fields",
        "requests_max",
        "response_ns",
        "target_size_max",
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
        # Attributes of a document are looked up by name: these are asked for by every request.
        self.head_size_max = document.proxy.head_size_max
        self.target_size_max = document.proxy.target_size_max
        self.field_count_max = document.proxy.field_count_max
        self.body_size_max = document.proxy.body_size_max
        self.idle_ns = document.proxy.timeouts.client_idle_ns
        self.response_ns = document.proxy.timeouts.response_ns
        self.forwards_pressure = document.proxy.forward_pressure
        self.requests_max = document.proxy.requests_per_connection_max
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
        self._reads_all = self.classifier.reads_all
        self._keys = self.classifier.keys
        self._date_second = -1
        self._date = b""
        self._method = ""
        self._method_bytes = b""
        """What was asked for last, as it was received."""

    def classify(
        self, tokens: RequestTokens, framing: RequestFraming, peer: str, is_known: bool = True
    ) -> Read:
        """What the core wants to know of a request of this client.

        Not `is_known`: the head was read by another configuration, which asked other things of it.
        """
        if tokens.method != self._method_bytes:  # mostly it is that of the request before
            self._method_bytes, self._method = tokens.method, tokens.method.decode()
        path = framing.path
        if _QUERY in path:
            path = path[: path.index(b"?")]
        self._server.requests += 1
        said = tokens.said if is_known else -1
        return self.classifier.read(
            self._method,
            path,
            tokens.headers if self._reads_all or said < 0 else (),
            peer,
            self._server.requests,
            said=said,
            found=tokens.found,
            # Asking for a tunnel takes a slot like any request, and 101 gives it back: an
            # upstream that ignores the wish would else serve anybody past the limit.
        )

    def moving_key(self) -> int:
        """The key of the request that was classified last, if it changes its cell; else 0."""
        keys = self._keys
        return keys.take_moving() if keys is not None and keys.moving else 0

    def date_at(self, now: Instant) -> bytes:
        """The Date of an answer that is made at this instant."""
        second = self.driver.wall_ns(now) // NS_PER_S
        if second != self._date_second:
            self._date_second = second
            self._date = http_date(second)
        return self._date

    def group_of(self, cell: str) -> UpstreamGroup:
        """The upstreams of a cell; cells without their own share the first's."""
        groups = self._groups
        return groups.get(cell, self._default_group) if len(groups) > 1 else self._default_group

    def address_of(self, peer: str) -> bytes:
        """What a client's connections count under: its address, of IPv6 the /64.

        Empty for trusted proxies and unix sockets, which are many clients.
        """
        trust = self._trust
        return b"" if not peer or trust.believes(peer) else trust.caller_at(peer)

    def keeps_clients(self, served: int) -> bool:
        """Whether a client's connection that has had `served` requests may have more."""
        most = self.requests_max
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
