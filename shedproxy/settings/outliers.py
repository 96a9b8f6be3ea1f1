"""Hosts that are worse than their peers: when they are, what is done, who is asked for others."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shedproxy.settings.quantities import Duration, TextList, at_least, invalid
from shedproxy.settings.section import Section, form, preset

__all__ = ["CheckSettings", "OutlierSettings", "ReplacementSettings"]

CheckPath = Annotated[str, form(r"^(/[^#\s]*)?$", 'a path, like "/healthz"')]
CheckHost = Annotated[str, form(r"^[A-Za-z0-9.:\[\]_-]*$", 'a host, like "example.com"')]
Status = Annotated[int, Field(ge=200, le=599)]


def _webhook(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise invalid(f'"{value}" is no URL to post to', help_text='like "https://host/replace"')
    return value


class CheckSettings(Section):
    """A health check of every upstream of the cell, made once for all workers. Off by default: what
    requests meet says more, and whoever refuses connections or does not answer is noticed anyway.
    """

    path: CheckPath = ""
    """Asked with GET; "" checks nothing."""
    host: CheckHost = ""
    """Host of the request; "" is the upstream's own name."""
    interval: Annotated[Duration, at_least("100ms")] = preset("5s")
    """Between two checks of one upstream; each has a moment of its own in it."""
    timeout: Annotated[Duration, at_least("10ms")] = preset("1s")
    """Of one check."""
    status: list[Status] = preset([200], min_length=1)
    """What an upstream that is well answers with."""
    falls: int = preset(3, ge=1, le=100)
    """Failures in a row that make it bad."""
    rises: int = preset(2, ge=1, le=100)
    """Successes in a row that make it good again."""


class OutlierSettings(Section):
    """Upstreams that are worse than their peers are taken out, as far as their magazine goes: never
    so many that what is left could not carry the demand (and lose a zone, unless that is waived),
    and none at all while so many are bad at once that it cannot be their own fault.
    """

    enabled: bool = True
    """Whether hosts are judged and taken out. One host alone never is."""
    window: Annotated[Duration, at_least("1s")] = preset("10s")
    """What a host is judged by."""
    requests_min: int = preset(20, ge=1, le=100_000)
    """Requests of a host in that time; of fewer nothing is said."""
    failures: float = preset(0.2, gt=0, le=1)
    """Share of failed requests above that of its peers that makes a host bad. Failed is what could
    not be connected to, was reset, cut or not answered in time, or a 5xx other than a 503 that says
    when to come again."""
    slowness: float = preset(3.0, ge=0, le=1000)
    """Latency as a multiple of that of its peers that makes a host bad; 0: it is not judged."""
    unreachable: Annotated[Duration, at_least("1s")] = preset("30s")
    """A host that no worker can get an answer of gets no requests at once; for so long that costs
    no bullet, because restarts are no failures."""
    headroom: float = preset(0.1, ge=0, le=10)
    """What must be left beside the demand, as a share of it."""
    share: float = preset(0.1, gt=0, le=1)
    """Most of the hosts that may be out; one may be in any case."""
    out: Annotated[Duration, at_least("1s")] = preset("30s")
    """Shortest time out; twice as long each time, up to eight times."""
    ramp: Duration = preset("30s")
    """A host that is back has a tenth of its part at first, and all of it after this."""
    bake: Annotated[Duration, at_least("1s")] = preset("60s")
    """How long it must then be healthy before its bullet is given back; time alone does not."""
    bake_requests: int = preset(100, ge=1, le=10_000_000)
    """Requests that it must answer meanwhile."""
    reload: Duration = preset("60s")
    """Least time between two bullets given back to a magazine."""
    correlated: float = preset(0.3, gt=0, le=1)
    """More of the hosts bad at once than this (and more than one), or a check that begins to fail
    in two zones: it is not the hosts. Nobody is taken out, and who was lately is put back."""
    correlated_for: Annotated[Duration, at_least("1s")] = preset("60s")
    """What counts as at once, and how long it stays so."""


class ReplacementSettings(Section):
    """Who is asked for another host when one is taken out, and told to end it when the other is up:
    a URL or a command, not both. Nobody by default. Needs server.state_file.
    """

    url: Annotated[str, AfterValidator(_webhook)] = ""
    """Gets a POST of JSON, with an Idempotency-Key: one request may come more than once."""
    secret_file: str = ""
    """File with the key of `shedproxy-signature`: HMAC-SHA256 of timestamp, a dot and the body."""
    command: Annotated[list[str], TextList] = preset([])
    """Program and arguments, without a shell; SHEDPROXY_ACTION, _CELL, _HOST, _ZONE, _REASON, _NEW
    and _KEY are in its environment. Success is exit code 0."""
    timeout: Annotated[Duration, at_least("100ms")] = preset("10s")
    """Of one try."""
    attempts: int = preset(5, ge=1, le=100)
    """Tries, with growing pauses between."""
    within: Annotated[Duration, at_least("1s")] = preset("10m")
    """Another host that has not come by then is reported, and the old one may come back."""
