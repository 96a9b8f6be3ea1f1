"""Settings of a small shop, and ways to change them: fourteen kinds are bad, thirteen harmless.

Bad is what does harm as `controlplane.gates` states it, to the requests of this shop.

A kind of change is a function of chance, so that each of its seeds is as bad as it happens to be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

__all__ = ["BAD", "BASE", "GOOD", "ROUTES", "UNKNOWING", "Edit", "Route", "edited"]

UNKNOWING: Final = "http://10.0.8."
"""Services that answer 404 to whatever they are asked here."""

BASE: Final = """
[headers]
tenant = "x-tenant"

[server]
trusted_proxies = ["10.0.0.0/8"]

[server.timeouts]
response = "10s"

[[rule]]
name = "checkout"
match.path = "/checkout/**"
criticality = "critical_plus"

[[rule]]
name = "reports"
match.path = "/reports/**"
criticality = "sheddable"

[[rule]]
name = "old"
match.path = "/old/**"
criticality = "sheddable_plus"

[cell.default]
upstream = ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]

[cell.default.limit]
initial = 16
min = 4
max = 64

[cell.default.queue]
length_max = 64
wait_max = "500ms"
"""


class Route(NamedTuple):
    """What a client's word for a route is on the wire."""

    method: str
    path: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    head_size: int = 900
    """Bytes, in the middle: cookies make some heads three times as long."""
    body_size: int = 0
    """Bytes, in the middle."""


ROUTES: Final[Mapping[str, Route]] = {
    "checkout": Route("POST", b"/checkout/pay", body_size=6_000),
    "items": Route("GET", b"/items/7"),
    "reports": Route("GET", b"/reports/day"),
    "acme": Route("GET", b"/items/8", ((b"x-tenant", b"acme"),)),
}

Edit = Callable[[str, random.Random], str]


def edited(text: str, old: str, new: str) -> str:
    """The text with a part replaced, which has to be there once."""
    if text.count(old) != 1:
        raise ValueError(f"{old!r} is there {text.count(old)} times")
    return text.replace(old, new)


def _line(key: str, value: str) -> Edit:
    """A line `key = ...` of the base with another value."""
    old = next(line for line in BASE.splitlines() if line.startswith(f"{key} ="))
    return lambda text, _: edited(text, f"\n{old}\n", f"\n{key} = {value}\n")


def _more(lines: str) -> Edit:
    return lambda text, _: f"{text}\n{lines}\n"


def _first_rule(lines: str) -> Edit:
    rule = f"[[rule]]\n{lines}\n\n"
    return lambda text, _: text.replace("[[rule]]", f"{rule}[[rule]]", 1)


def _server(lines: str) -> Edit:
    return lambda text, _: edited(text, "[server]\n", f"[server]\n{lines}\n")


def _body_limit_too_small(text: str, chance: random.Random) -> str:
    return _server(f'body_size_max = "{chance.choice((2, 4, 8))}KiB"')(text, chance)


def _head_limit_too_small(text: str, chance: random.Random) -> str:
    lines = f"head_size_max = {chance.randint(1024, 2048)}\ntarget_size_max = 1024"
    return _server(lines)(text, chance)


def _client_timeout_too_short(text: str, chance: random.Random) -> str:
    line = f'client_head = "{chance.randint(20, 200)}ms"'
    return edited(text, "[server.timeouts]\n", f"[server.timeouts]\n{line}\n")


def _unknowing_service(text: str, chance: random.Random) -> str:
    others = ", ".join(f'"{UNKNOWING}{n}:8000"' for n in range(1, chance.randint(2, 3)))
    return edited(text, '0.2:8000"', f'0.2:8000", {others}')


def _limits_too_low(text: str, chance: random.Random) -> str:
    most = chance.randint(1, 3)
    return edited(text, "initial = 16\nmin = 4\nmax = 64", f"initial = {most}\nmax = {most}")


def _classes_swapped(text: str, _: random.Random) -> str:
    text = edited(text, '"critical_plus"', '"SHEDDABLE"')
    text = edited(text, '"sheddable"', '"critical_plus"').replace("SHEDDABLE", "sheddable")
    # As if it were known already what is worth nothing.
    return f"{text}\n[classes.limits]\nsheddable = 1\n"


def _route_refused(text: str, chance: random.Random) -> str:
    path = chance.choice(("/checkout/**", "/reports/**", "/items/**"))
    return _first_rule(f'name = "off"\nmatch.path = "{path}"\nlimit = 0')(text, chance)


def _timeout_too_short(text: str, chance: random.Random) -> str:
    return _line("response", f'"{chance.randint(60, 250)}ms"')(text, chance)


def _queue_too_long(text: str, chance: random.Random) -> str:
    most = chance.randint(16, 24)
    text = edited(text, "initial = 16\nmin = 4\nmax = 64", f'algorithm = "fixed"\ninitial = {most}')
    return edited(text, 'length_max = 64\nwait_max = "500ms"', 'length_max = 1024\nwait_max = "9s"')


def _tenant_refused(text: str, chance: random.Random) -> str:
    lines = (
        f'name = "greedy"\nmatch.header = {{ x-tenant = "acme" }}\nlimit = {chance.randint(0, 1)}'
    )
    return _first_rule(lines)(text, chance)


def _other_service(text: str, chance: random.Random) -> str:
    others = ", ".join(f'"http://10.0.9.{n}:8000"' for n in range(1, chance.randint(2, 3)))
    return edited(text, '0.2:8000"', f'0.2:8000", {others}')


def _upstream_left_out(text: str, chance: random.Random) -> str:
    gone = chance.choice(('"http://10.0.0.1:8000", ', ', "http://10.0.0.2:8000"'))
    return edited(text, gone, "")


def _costs_too_high(text: str, chance: random.Random) -> str:
    lines = f'name = "dear"\nmatch.path = "/items/**"\ncost = {chance.randint(6, 12)}'
    return _first_rule(lines)(text, chance)


def _no_queue(text: str, chance: random.Random) -> str:
    text = edited(text, "length_max = 64", "length_max = 0")
    most = chance.randint(4, 6)
    return edited(text, "initial = 16\nmin = 4\nmax = 64", f"initial = 4\nmax = {most}")


BAD: Final[Mapping[str, Edit]] = {
    "limits far too low": _limits_too_low,
    "classes swapped": _classes_swapped,
    "a route always refused": _route_refused,
    "timeout too short": _timeout_too_short,
    "queue too long": _queue_too_long,
    "a tenant refused": _tenant_refused,
    "upstreams of another service": _other_service,
    "half of the upstreams": _upstream_left_out,
    "costs too high": _costs_too_high,
    "no queue": _no_queue,
    "limit of bodies too small": _body_limit_too_small,
    "limit of heads too small": _head_limit_too_small,
    "clients' timeout too short": _client_timeout_too_short,
    "upstreams that know nothing": _unknowing_service,
}
GOOD: Final[Mapping[str, Edit]] = {
    "limits a little wider": _line("max", "80"),
    "start a little higher": _line("initial", "18"),
    "longer timeout": _line("response", '"15s"'),
    "queue a little longer": _line("length_max", "80"),
    "queue a little shorter": _line("length_max", "56"),
    "wait a little shorter": _line("wait_max", '"450ms"'),
    "a rule nobody meets": _first_rule('name = "new"\nmatch.path = "/new/**"\nlimit = 5'),
    "other words in refusals": _more('[reject]\nbody = "text"'),
    "drain and log": _more('[server.drain]\ngrace = "40s"\n[log]\nlevel = "warning"'),
    "limit of bodies": _server('body_size_max = "8MiB"'),
    "wider limit of heads": _server('head_size_max = "32KiB"'),
    "shorter timeout of clients": lambda text, _: edited(
        text, "[server.timeouts]\n", '[server.timeouts]\nclient_head = "8s"\n'
    ),
    "slack of tenants": _more("[cell.default.fairness]\nslack = 1.8"),
}
