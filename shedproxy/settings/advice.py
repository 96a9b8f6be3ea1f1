"""Settings that are valid and yet hardly meant: warnings, and hints that need no answer."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence

from shedproxy.errors import Problem
from shedproxy.settings.cell_checks import host_rps, hosts_by_zone, placed_rps
from shedproxy.settings.checks import label_of
from shedproxy.settings.compile import cells_of, compile_document, spread_weights
from shedproxy.settings.layers import Layer, is_written, locate
from shedproxy.settings.models import RuleSettings, Settings
from shedproxy.settings.problems import at_path
from shedproxy.settings.quantities import show_duration, split_address
from shedproxy.settings.section import ClassLimits
from shedproxy.settings.shape import Path, subject
from shedproxy.settings.upstreams import split_upstream
from shedproxy.snapshot import unreachable

__all__ = ["advise"]

_LOOPBACK = ("localhost", "127.", "[::1]")

_Adviser = Callable[[Settings, Sequence[Layer]], Iterator[Problem]]


def advise(settings: Settings, layers: Sequence[Layer]) -> list[Problem]:
    """Every warning and hint about valid settings, in the order of the file."""
    return [problem for adviser in _ADVISERS for problem in adviser(settings, layers)]


def _shadowed_rules(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    rules = settings.rule
    for index, earlier in unreachable(compile_document(settings).classification.rules):
        path = ("rule", str(index))
        other = locate(layers, ("rule", str(earlier)))
        where = f" (line {other.line})" if other.line else ""
        yield at_path(
            layers,
            path,
            f"{label_of(rules[index], index)} can never match",
            note=f"{label_of(rules[earlier], earlier)}{where} takes every such request",
            help_text="the first rule that matches wins: move the narrower one up",
            severity="warning",
        )


def _repeated_names(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for index, rule in enumerate(settings.rule):
        if rule.name and rule.name in first:
            yield at_path(
                layers,
                ("rule", str(index), "name"),
                f'two rules are named "{rule.name}"',
                note=f"rule {first[rule.name] + 1} is too",
                help_text="latency is learnt and limits are counted by name, so they share both",
                severity="warning",
            )
        first.setdefault(rule.name, index)


def _control_rules(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    paths = set(settings.control.paths)
    for index, rule in enumerate(settings.rule):
        label = label_of(rule, index)
        for number, pattern in enumerate(rule.match.path):
            if pattern in paths and (not rule.match.method or "GET" in rule.match.method):
                yield at_path(
                    layers,
                    ("rule", str(index), "match", "path", str(number)),
                    f"{label} does not see GET {pattern}",
                    note="it is in control.paths, which come before all rules",
                    severity="warning",
                )
        if rule.lane == "control" and _is_broad(rule):
            yield at_path(
                layers,
                ("rule", str(index), "lane"),
                f"{label} takes many requests past admission",
                help_text="name exact paths: the control lane is for health and administration",
                severity="warning",
            )


def _is_broad(rule: RuleSettings) -> bool:
    match = rule.match
    return not match.header and (not match.path or any("**" in path for path in match.path))


def _trust(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    server, headers = settings.server, settings.headers
    for index, network in enumerate(server.trusted_proxies):
        if network != "unix" and ipaddress.ip_network(network).prefixlen == 0:
            yield at_path(
                layers,
                ("server", "trusted_proxies", str(index)),
                f'"{network}" trusts everybody',
                note="any client can call itself critical_plus, or another tenant",
                help_text="name the networks of your own proxies",
                severity="warning",
            )
    named = [name for name in (headers.criticality, headers.tenant.lstrip("@")) if name]
    if server.trusted_proxies and named and not server.trusted_strip_headers:
        yield at_path(
            layers,
            ("server", "trusted_proxies"),
            f"a trusted proxy that passes {named[0]} on lets its clients choose their class",
            note="their headers count as the proxy's own",
            help_text="remove these headers at the proxy, then set trusted_strip_headers = true",
            severity="warning",
        )
    if headers.tenant not in {"", "@client"} and not server.trusted_proxies:
        yield at_path(
            layers,
            ("headers", "tenant"),
            f"headers.tenant has no effect: nobody is trusted to send {headers.tenant}",
            help_text='set server.trusted_proxies, or tenant = "@client"',
            severity="warning",
        )


def _underscores(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    headers = settings.headers
    named: list[tuple[Path, str]] = [
        (("headers", "criticality"), headers.criticality),
        (("headers", "tenant"), headers.tenant),
    ]
    for key in ("cohort", "attempt", "deadline"):
        names: list[str] = getattr(headers, key)
        named += [(("headers", key, str(index)), name) for index, name in enumerate(names)]
    for index, rule in enumerate(settings.rule):
        named += [
            (("rule", str(index), "match", "header", name), name) for name in rule.match.header
        ]
    for path, name in named:
        if "_" in name:
            yield at_path(
                layers,
                path,
                f"the header {name} may not get through: it has an underscore",
                note="many proxies drop such fields, and so does this one on the way upstream",
                help_text=f"name it {name.replace('_', '-')} wherever it is sent",
                severity="warning",
                on_key=path[0] == "rule",
            )


def _waits(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    for name, cell in settings.cell.items():
        deadline, wait = cell.deadline.default, cell.queue.wait_max
        if deadline is not None and wait > deadline:
            key: Path = ("cell", name, "queue", "wait_max")
            if not is_written(layers, key):
                key = ("cell", name, "deadline", "default")
            yield at_path(
                layers,
                key,
                f'cell "{name}" lets requests wait longer than they have',
                note=f"queue.wait_max is {show_duration(wait)},"
                f" deadline.default {show_duration(deadline)}",
                severity="warning",
            )


def _control_listener(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    kind, host = split_address(settings.control.listen)
    if kind == "tcp" and not host.lower().startswith(_LOOPBACK) and not settings.control.token_file:
        yield at_path(
            layers,
            ("control", "listen"),
            "the control listener is open to other hosts, and there is no token",
            note="everything but /livez and /readyz will be refused",
            help_text="set control.token_file, or listen on 127.0.0.1",
            severity="warning",
        )


def _refuse_everything(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    classes: list[tuple[Path, ClassLimits]] = [(("classes", "limits"), settings.classes.limits)]
    classes += [
        (("cell", name, "class_limits"), c.class_limits) for name, c in settings.cell.items()
    ]
    for path, limits in classes:
        values = limits.model_dump()
        default = settings.classes.default
        if all(value == 0 for value in values.values()):
            yield at_path(
                layers,
                path,
                f"{subject(path)} refuse every request",
                note="all four classes have the limit 0",
                severity="warning",
            )
        elif values[default] == 0:
            yield at_path(
                layers,
                (*path, default),
                f"every request without a class of its own is refused: {default} is the default",
                severity="warning",
            )
    for index, rule in enumerate(settings.rule):
        match = rule.match
        if rule.limit == 0 and not (match.path or match.method or match.header or match.host):
            yield at_path(
                layers,
                ("rule", str(index), "limit"),
                f"{label_of(rule, index)} refuses every request that reaches it",
                note="it has no match",
                severity="warning",
            )


def _idle_values(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    for name, cell in settings.cell.items():
        path: Path = ("cell", name, "limit")
        for key in ("min", "max"):
            if cell.limit.algorithm == "fixed" and key in cell.limit.model_fields_set:
                yield at_path(
                    layers,
                    (*path, key),
                    f"{subject((*path, key))} has no effect: a fixed limit does not move",
                    severity="warning",
                    on_key=True,
                )
    used = {rule.cell or "default" for rule in settings.rule} | {"default"}
    if settings.cells.key:
        used |= {settings.cells.default, *settings.cells.pins.values()}
        used |= {cell for cell, weight in spread_weights(settings).items() if weight}
    for name in cells_of(settings):
        if name not in used:
            yield at_path(
                layers,
                ("cell", name),
                f'no rule sends requests to cell "{name}"',
                help_text=f'a rule with cell = "{name}" would',
                severity="warning",
                on_key=True,
            )
    if settings.telemetry.endpoint and not settings.telemetry.otlp:
        yield at_path(
            layers,
            ("telemetry", "endpoint"),
            "telemetry.endpoint has no effect while telemetry.otlp is false",
            severity="warning",
            on_key=True,
        )


def _cell_keys(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    cells = settings.cells
    if not cells.key:
        for key in ("weights", "pins", "demand"):
            if getattr(cells, key):
                yield at_path(
                    layers,
                    ("cells", key),
                    f"cells.{key} has no effect while cells.key is not set",
                    severity="warning",
                    on_key=True,
                )
        return
    if not cells.secret:
        yield at_path(
            layers,
            ("cells", "key"),
            "anybody can aim at a cell: the hash of keys has no secret",
            help_text="set cells.secret, the same on all instances",
            severity="warning",
        )
    if cells.key.startswith("header:") and not settings.server.trusted_proxies:
        yield at_path(
            layers,
            ("cells", "key"),
            f"cells.key has no effect: nobody is trusted to send {cells.key[7:]}",
            help_text="set server.trusted_proxies, or take api-key: for a credential",
            severity="warning",
        )


def _zones_and_hands(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    zones: set[str] = set()
    placed = placed_rps(settings)
    for name, cell in settings.cell.items():
        path = ("cell", name)
        here = hosts_by_zone(cell.upstream)
        zones |= here.keys()
        is_known = name in placed and host_rps(cell, len(cell.upstream)) is not None
        if len(here) > 1 and not is_known and "zone-headroom" not in cell.waive:
            yield at_path(
                layers,
                (*path, "upstream"),
                f'nobody knows whether cell "{name}" can lose a zone',
                note="demand, or what its upstreams carry, is not said",
                help_text='set demand and calibrate, or waive = ["zone-headroom"]',
                severity="warning",
            )
        if cell.hands.size and not settings.headers.tenant:
            yield at_path(
                layers,
                (*path, "hands", "size"),
                f'all requests of cell "{name}" are in one hand: there are no tenants',
                help_text="set headers.tenant",
                severity="warning",
            )
    if settings.server.zone and zones and settings.server.zone not in zones:
        yield at_path(
            layers,
            ("server", "zone"),
            f"no upstream is in zone {settings.server.zone}",
            severity="warning",
        )


def _cancels(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    for name, cell in settings.cell.items():
        path = ("cell", name, "transport")
        if cell.transport.cancels == "true":
            yield at_path(
                layers,
                (*path, "cancels"),
                f'cell "{name}" frees a slot as soon as the client leaves',
                note="right if the upstream then stops its work",
                help_text="sync workers and thread pools do not: for them cancels = false",
                severity="hint",
            )
        if not cell.transport.tls.verify:
            yield at_path(
                layers,
                (*path, "tls", "verify"),
                f'cell "{name}" accepts any certificate from its upstreams',
                help_text="name their authority with ca instead",
                severity="warning",
            )


def _other_builds(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    for name, cell in settings.cell.items():
        build = cell.profile.build
        if not cell.profile.id or not build:
            continue
        # Cells without upstreams of their own have those of the default.
        owner = name if cell.upstream else "default"
        for index, upstream in enumerate(cells_of(settings)[owner].upstream):
            url, _, version = split_upstream(upstream)
            if version and version != build:
                yield at_path(
                    layers,
                    ("cell", owner, "upstream", str(index)),
                    f'the profile of cell "{name}" was made for build {build}; {url} has {version}',
                    help_text="run shedproxy calibrate URL --write again",
                    severity="warning",
                )
                break


def _managed(settings: Settings, layers: Sequence[Layer]) -> Iterator[Problem]:
    if settings.snapshot.source and settings.mode != "enforce":
        yield at_path(
            layers,
            ("mode",),
            f"mode {settings.mode} ends when a snapshot is in force, which says the mode",
            help_text=f"in an emergency: shedproxy mode {settings.mode} --for 10m",
            severity="warning",
        )


_ADVISERS: tuple[_Adviser, ...] = (
    _shadowed_rules,
    _repeated_names,
    _control_rules,
    _trust,
    _underscores,
    _waits,
    _control_listener,
    _refuse_everything,
    _idle_values,
    _cell_keys,
    _zones_and_hands,
    _cancels,
    _other_builds,
    _managed,
)
