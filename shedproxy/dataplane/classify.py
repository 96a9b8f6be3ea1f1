"""A request head becomes what the core knows of a request: its worth, its cost, its flow.

Used by the wire proxy and by the middleware, so that both read the same head in the same way.
Whom to believe is decided here: headers that raise a request count only from trusted peers, from
anybody else they may only lower it. The path is the request's own (Host decides nothing unless a
rule asks for it), a header sent twice counts once, the first time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from shedproxy.clock import wall_seconds
from shedproxy.core import (
    NS_PER_S,
    CellTable,
    Criticality,
    Kind,
    Lane,
    Policy,
    RequestInfo,
)
from shedproxy.dataplane.cell_keys import CellKeys
from shedproxy.dataplane.cohorts import Cohorts, lone_cohort
from shedproxy.dataplane.flows import Flows
from shedproxy.dataplane.hints import (
    is_repeated,
    parse_deadline_ns,
    parse_queued_ns,
    parse_urgency,
)
from shedproxy.dataplane.path_memory import Found, PathMemory
from shedproxy.dataplane.recent import Recent
from shedproxy.dataplane.route import Route
from shedproxy.dataplane.trust import Trust
from shedproxy.snapshot import UNDECIDED, Classification, Rule, RuleTable, path_readings
from shedproxy.snapshot import flow_key as secret_flow_key

__all__ = ["Classified", "Classifier", "Read"]

_CLASS_SIZE_MAX: Final = 32
"""Bytes of a criticality header that count: more than any name has."""

_STREAM: Final = Kind.STREAM
_NO_RULE: Final = -1
_CONTROL: Final = -2

# What a header is read for, as bits: what nobody sent a header for is not asked.
_FOR_RULE: Final = 1
_FOR_CLASS: Final = 2
_FOR_ATTEMPT: Final = 4
_FOR_DEADLINE: Final = 8
_FOR_COHORT: Final = 16
_FOR_TENANT: Final = 32
_FOR_KIND: Final = 64
_FOR_CELL: Final = 128

_STARTED: Final = b"x-request-start"
_NOTHING: Final[dict[bytes, bytes]] = {}

_Headers = Sequence[tuple[bytes, bytes]]
Read = tuple[RequestInfo, int, int, int | None, int]
"""The fields of `Classified`, without the price of their names."""


class Classified(NamedTuple):
    """What `Shedder.arrive` wants to know. `rule` is -1 when no rule matched."""

    info: RequestInfo
    flow_hash: int
    cohort: int
    time_left_ns: int | None
    rule: int


class Classifier:
    """One compiled `Classification`. Holds bounded caches and no state that decides anything.

    `policy` gives the cells' default timeouts and the salt of the cohorts; without it both are
    empty and the caller may give a default timeout per request. `flow_key`: where tenants must
    hash alike in several processes, at most 64 bytes.

    Raises:
        DocumentInvalidError: an entry of `trusted_peers` is no network.
    """

    def __init__(
        self,
        classification: Classification,
        policy: Policy | None = None,
        *,
        flow_key: bytes = b"",
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._part = part
        policy = Policy(cells=()) if policy is None else policy
        self._rules = RuleTable(classification.rules, classification.control_paths)
        self._timeouts = {cell.name: cell.default_timeout_ns for cell in policy.cells}
        self._first_timeout = policy.cells[0].default_timeout_ns if policy.cells else None
        self._routes = [
            Route(rule, f"rule-{index}", classification.default_criticality)
            for index, rule in enumerate(classification.rules)
        ]
        # Found by the negative indexes -2 and -1.
        control = Rule(name="control", lane=Lane.CONTROL)
        self._routes += [
            Route(control, "control", Criticality.CRITICAL_PLUS),
            Route(Rule(name="default"), "default", classification.default_criticality),
        ]
        for route in self._routes:
            route.default_timeout_ns = self._timeouts.get(route.cell, self._first_timeout)
        self._marked: dict[tuple[int, int], tuple[Route, Rule]] = {}
        self._trust = Trust(classification.trusted_peers)
        routing = classification.cells
        tenant = classification.tenant_header.lower()
        self.keys = CellKeys(routing, self._trust) if routing.key else None
        """Leads to a cell where no rule does; None: nothing is asked."""
        if self.keys is not None:
            self.keys.asks_pins = any(cell.spill.to for cell in policy.cells)
        self._criticality = classification.criticality_header.lower().encode()
        self._has_tenants = bool(tenant)
        self._flows = Flows(tenant, self._trust, flow_key or secret_flow_key(routing.secret))
        cohort_names = _names(classification.cohort_headers)
        self._attempts = _names(classification.attempt_headers)
        self._deadlines = _names(classification.deadline_headers)
        self.wanted = self._wanted_names(cohort_names)
        """Headers that are read, by lower-case name, and what for, as bits."""
        self.reads_all = self.keys is not None or self._has_tenants
        """Whether it looks at more headers than those that are `wanted`."""
        self._has_rules = bool(classification.rules)
        salt = (policy.salt % (1 << 64)).to_bytes(8, "big")
        self._cohorts = Cohorts(cohort_names, salt=classification.salt.encode() + salt)
        self._paths = {method: PathMemory() for method in self._rules.methods}
        self._other_paths = PathMemory()
        """Asked for by a method that no rule names."""
        self._classes = Recent(_parse_class)

    def take_table(self, table: CellTable | None) -> None:
        """Look keys up in another table from now on; one that is for another secret is not ours."""
        keys = self.keys
        if keys is not None and table is not None and table.secret_id == keys.secret_id:
            keys.take(table)

    def classify(
        self,
        method: str,
        raw_path: bytes,
        headers: _Headers,
        peer: str,
        serial: int,
        upgrade: bool = False,
        default_timeout_ns: int | None = None,
        mark: Rule | None = None,
    ) -> Classified:
        """Everything the core wants to know of one request. Never raises.

        Args:
            method: as received.
            raw_path: the path without query, as received.
            headers: lower-case names and values, in order.
            peer: address of the connection's other end; "" for a unix socket.
            serial: a number that differs between requests; gives the cohort of a lone request.
            upgrade: the request wants to become a tunnel or a WebSocket: a stream.
            default_timeout_ns: time the request has when no header says; None: its cell's.
            mark: what the code says of the endpoint, for what no rule decides; one object each.
        """
        return Classified(
            *self.read(method, raw_path, headers, peer, serial, upgrade, default_timeout_ns, mark)
        )

    def read(
        self,
        method: str,
        raw_path: bytes,
        headers: _Headers,
        peer: str,
        serial: int,
        upgrade: bool = False,
        default_timeout_ns: int | None = None,
        mark: Rule | None = None,
        said: int = -1,
        found: dict[bytes, bytes] | None = None,
    ) -> Read:
        """What `classify` says, as a plain tuple: a name costs as much as a header.

        `said` are the bits of `wanted` that the headers have, where they are known, and `found`
        those headers. Others are not read, unless `reads_all`.
        """
        found = _NOTHING if found is None else found
        if said < 0:
            found = {}
            said = self._look_for(headers, found)
        rule = self._find_rule(method, raw_path, found)
        route = self._routes[rule] if mark is None else self._marked_route(rule, mark)
        if (keys := self.keys) is not None and route.is_keyed:
            cell = keys.find(found, headers, raw_path, peer)
            own_ns = self._timeouts.get(cell, self._first_timeout)
            route = route.in_cell(cell, own_ns, keys.is_pinned)
        time_left_ns = default_timeout_ns
        if time_left_ns is None:
            time_left_ns = route.default_timeout_ns
        if not (said or upgrade or self._has_tenants):
            # Nobody says anything: the route alone decides.
            cohort = lone_cohort(serial)
            return route.own_info, 0, cohort, time_left_ns, rule if rule >= 0 else _NO_RULE
        criticality, is_retry, flow_hash = route.criticality, False, 0
        kind = _STREAM if upgrade and not route.kind else route.kind
        if said or self._has_tenants:
            trusted = self._trust.believes(peer)
            if said & _FOR_CLASS:
                criticality = self._read_criticality(found, route, trusted)
            if said & _FOR_ATTEMPT:
                is_retry = self._read_attempt(found)
            if said & _FOR_DEADLINE:
                time_left_ns = self._read_time_left(found, time_left_ns, trusted)
            # The header alone would let anybody out of the limit, so from strangers it does not
            # count: their streams are seen when the answer begins.
            is_open = said & _FOR_KIND and trusted and not kind
            kind = _STREAM if is_open and b"text/event-stream" in found[b"accept"] else kind
            if self._has_tenants:
                flow_hash = self._flows.read(found, headers, peer, trusted)
        info = route.intern(criticality, kind, is_retry=is_retry)
        cohort = -1
        if said & _FOR_COHORT and info.route_limit != 0:  # no place in its class opens such a route
            cohort = self._cohorts.read(found)
        if cohort < 0:
            cohort = lone_cohort(serial)
        return info, flow_hash, cohort, time_left_ns, rule if rule >= 0 else _NO_RULE

    def key_of(
        self, method: str, raw_path: bytes, headers: Sequence[tuple[bytes, bytes]], peer: str
    ) -> int:
        """The hash of the key that leads this request to its cell; 0: none does."""
        keys = self.keys
        if keys is None:
            return 0
        wanted = self.wanted
        found = {name: value for name, value in reversed(headers) if name in wanted}
        if not self._routes[self._find_rule(method, raw_path, found)].is_keyed:
            return 0
        return keys.key_of(found, headers, raw_path, peer)

    def _look_for(self, headers: _Headers, found: dict[bytes, bytes]) -> int:
        """Put what is wanted of the headers into `found`; the bits that it has."""
        wanted, said = self.wanted, 0
        for name, value in headers:
            if name in wanted and name not in found:
                found[name] = value
                said |= wanted[name]
        return said

    def is_trusted(self, peer: str) -> bool:
        """Whether headers of this address count in full."""
        return self._trust.believes(peer)

    def _wanted_names(self, cohort_names: Sequence[bytes]) -> dict[bytes, int]:
        """Every header that `classify` reads, and what for."""
        readers: list[tuple[int, Iterable[bytes]]] = [
            (_FOR_RULE, [name.encode() for name in self._rules.header_names]),
            (_FOR_RULE, (b"host",) if self._rules.needs_host else ()),
            (_FOR_CLASS, (self._criticality, b"priority")),
            (_FOR_ATTEMPT, self._attempts),
            (_FOR_DEADLINE, self._deadlines),
            (_FOR_COHORT, cohort_names),
            (_FOR_TENANT, (self._flows.header,)),
            (_FOR_KIND, (b"accept",) if self._trust.is_any else ()),
            (_FOR_DEADLINE, (_STARTED,) if self._trust.is_any else ()),
            (_FOR_CELL, () if self.keys is None else (self.keys.header,)),
        ]
        wanted: dict[bytes, int] = {}
        for reader, names in readers:
            for name in names:
                wanted[name] = wanted.get(name, 0) | reader
        wanted.pop(b"", None)
        return wanted

    def _find_rule(self, method: str, raw_path: bytes, found: dict[bytes, bytes]) -> int:
        rules = self._rules
        if rules.is_control(method, raw_path):
            return _CONTROL
        if not self._has_rules:
            return _NO_RULE
        if not rules.reads_paths and raw_path.startswith(b"/"):
            # Paths decide nothing then, and are not worth remembering.
            rule = rules.settled(method, "/")
            if rule != UNDECIDED:
                return rule
        memory = self._paths.get(method, self._other_paths)
        known = memory.find(raw_path)
        if known is None:
            known = self._find_candidates(method, raw_path)
            memory.keep(raw_path, known)
        rule, readings = known
        return self._choose(readings, found) if readings else rule

    def _find_candidates(self, method: str, raw_path: bytes) -> Found:
        """The rule that method and path decide alone, or by reading those that need headers."""
        paths = path_readings(raw_path)
        if len(paths) == 1:
            rule = self._rules.settled(method, paths[0])
            if rule != UNDECIDED:
                return rule, ()
        readings = tuple(self._rules.candidates(method, path) for path in paths)
        if any(self._rules.needs_more(candidates) for candidates in readings):
            return _NO_RULE, readings
        return self._worst(candidates[0] if candidates else _NO_RULE for candidates in readings), ()

    def _worst(self, rules: Iterable[int]) -> int:
        """Of what a path may mean, the rule that gives least: nobody gains by being unclear."""
        return min(rules, key=lambda rule: self._routes[rule].worth)

    def _marked_route(self, rule: int, mark: Rule) -> Route:
        """The route of a rule with its gaps filled by a mark: the operator's word comes first."""
        known = self._marked.get((rule, id(mark)))
        if known is None:
            base = self._routes[rule]
            route = base
            if not base.is_control:
                route = base.filled_by(mark, is_default=rule == _NO_RULE, part=self._part)
            # The mark is kept with it, or another one could get its id.
            known = self._marked[rule, id(mark)] = (route, mark)
        return known[0]

    def _choose(self, readings: tuple[tuple[int, ...], ...], found: dict[bytes, bytes]) -> int:
        def header(name: str) -> str | None:
            value = found.get(name.encode())
            return None if value is None else value.decode("latin-1")

        host = found.get(b"host", b"").decode("latin-1")
        return self._worst(self._rules.choose(each, host, header) for each in readings)

    def _read_criticality(
        self, found: dict[bytes, bytes], route: Route, trusted: bool
    ) -> Criticality:
        """The route's own class, or a trusted peer's word where the route leaves it open."""
        decided = route.criticality
        if route.is_control:
            return decided
        said = found.get(self._criticality)
        if said is not None:
            claimed = self._classes[said[:_CLASS_SIZE_MAX]]
            if claimed is not None and (
                claimed < decided or (trusted and not route.is_criticality_fixed)
            ):
                decided = claimed
        said = found.get(b"priority")
        if said is not None and decided:
            urgency = parse_urgency(said)
            if urgency >= 5:  # browsers send up to 4 for ordinary work
                decided = min(
                    decided, Criticality.SHEDDABLE if urgency >= 7 else Criticality.SHEDDABLE_PLUS
                )
        return decided

    def _read_attempt(self, found: dict[bytes, bytes]) -> bool:
        for name in self._attempts:
            said = found.get(name)
            if said is not None and is_repeated(name, said):
                return True
        return False

    def _read_time_left(
        self, found: dict[bytes, bytes], default_ns: int | None, trusted: bool
    ) -> int | None:
        """Until the deadline, less the time that the request has waited before us already."""
        left_ns = self._read_deadline(found, default_ns, trusted)
        started = found.get(_STARTED)
        if left_ns is None or started is None or not trusted:
            return left_ns
        return max(0, left_ns - parse_queued_ns(started, int(wall_seconds() * NS_PER_S)))

    def _read_deadline(
        self, found: dict[bytes, bytes], default_ns: int | None, trusted: bool
    ) -> int | None:
        for name in self._deadlines:
            said = found.get(name)
            if said is not None:
                left_ns = parse_deadline_ns(said)
                if left_ns is not None:
                    if trusted or default_ns is None:
                        return left_ns
                    return min(left_ns, default_ns)
        return default_ns


def _parse_class(value: bytes) -> Criticality | None:
    return Criticality.parse(value.decode("latin-1"))


def _names(headers: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(name.lower().encode() for name in headers)
