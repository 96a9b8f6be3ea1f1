"""In managed mode: which of the settings are the host's own, and which the snapshot says.

The host's own are the listener's certificate, upstreams (they serve where a snapshot names none),
and what no document has: the control listener, logs, telemetry. Everything else is policy.
"""

from __future__ import annotations

from dataclasses import replace

from shedproxy.errors import Problem
from shedproxy.settings import Loaded
from shedproxy.snapshot import Document

__all__ = ["not_taken"]

_OWN = ("control.", "log.", "snapshot.", "telemetry.")
_OWN_OF_SERVER = frozenset(
    ("server.listen", "server.workers", "server.state_file", "server.tls.cert", "server.tls.key")
)
_POLICY_THERE = frozenset(("control.budget", "control.paths", "log.access", "log.access_share"))
_SHOWN_MAX = 20
_HELP = "publish it in a snapshot; `shedproxy mode off --for 10m` is there for emergencies"


def not_taken(before: Loaded, after: Loaded) -> tuple[Problem, ...]:
    """Why a reload of these settings is refused where snapshots rule; empty: it is not."""
    if _policy(after.document) == _policy(before.document):
        return ()
    was = {each.name: each.value for each in before.effective()}
    now = {each.name: each.value for each in after.effective()}
    names = [
        name
        for name in {**now, **was}
        if not _is_own(name) and now.get(name, _ABSENT) != was.get(name, _ABSENT)
    ]
    # Of secrets nobody sees a difference.
    return tuple(_problem(name, after) for name in names[:_SHOWN_MAX]) or (_problem("", after),)


_ABSENT = object()


def _policy(document: Document) -> Document:
    """Without what is the host's own."""
    return replace(document, proxy=replace(document.proxy, tls=None, upstreams=()))


def _is_own(name: str) -> bool:
    if name in _POLICY_THERE:
        return False
    is_upstream = name.startswith("cell.") and name.rpartition(".")[2] == "upstream"
    return name.startswith(_OWN) or name in _OWN_OF_SERVER or is_upstream


def _problem(name: str, after: Loaded) -> Problem:
    source, _, line = after.sources.get(name, "").rpartition(":")
    return Problem(
        message="the policy comes in signed snapshots: a change of"
        f" {name or 'it'} in the settings is not taken",
        path=tuple(name.split(".")) if name else ("snapshot", "source"),
        source=source if line.isdecimal() else after.sources.get(name, ""),
        line=int(line) if line.isdecimal() else 0,
        help=_HELP,
    )
