"""What every value of a scenario allows by itself and nothing can be run by."""

from __future__ import annotations

import difflib
import math
from itertools import pairwise

from shedproxy.core import Criticality
from shedproxy.workload.cell_checks import check_cells
from shedproxy.workload.scenario import BackendSpec, ClientSpec, EventSpec, Expectation, Scenario
from shedproxy.workload.table_decoder import Findings, Path

__all__ = ["check_scenario"]

_KNEE_ONLY = (
    "knee_scale",
    "knee_start",
    "knee_exponent",
    "rate_scale",
    "jitter",
    "reject_above",
    "reject_above_rps",
)
_ONLY_WITH = {
    "usl": ("alpha", "beta"),
    "slots": ("lock_share", "queue_max"),
    "knee": _KNEE_ONLY,
}
"""Keys of a backend that mean something for one kind only."""
_PLAIN_BACKEND = BackendSpec()

_NEEDS_LENGTH = frozenset(
    (
        "pause",
        "pauses",
        "outage",
        "timeouts",
        "fast_failures",
        "cold_cache",
        "service_ramp",
        "stall_proxy",
    )
)
_NEEDS_INTERVAL = frozenset(("pauses", "churn_proxies"))
_MACHINES = ("slots", "sharing", "usl")
_NEEDS_KIND = {
    "slots": ("slots", "sharing"),
    "lock": ("slots",),
    "lose_hosts": _MACHINES,
    "pause": _MACHINES,
    "pauses": _MACHINES,
}


def check_scenario(scenario: Scenario, findings: Findings) -> None:
    """Add what contradicts to the findings; tables with a broken value are not judged."""
    if findings.is_sound(("backend",)):
        _check_backend(scenario.backend, findings)
    if not scenario.client:
        findings.add(("client",), "there is no client: nobody would ask for anything")
    for index, client in enumerate(scenario.client):
        path = ("client", str(index))
        if findings.is_sound(path):
            _check_client(client, scenario, path, findings)
        if any(client.name == other.name for other in scenario.client[:index]):
            # Chance is drawn by name: two of one name would do the same things at the same times.
            findings.add(
                path,
                f'a second client is called "{client.name}"',
                help_text="give each [[client]] a name of its own",
            )
    for index, event in enumerate(scenario.event):
        path = ("event", str(index))
        if findings.is_sound(path):
            _check_event(event, scenario, path, findings)
    for index, expectation in enumerate(scenario.expect):
        path = ("expect", str(index))
        if findings.is_sound(path):
            _check_expectation(expectation, path, findings)
    if scenario.profile is not None and findings.is_sound(("profile",)):
        profile = scenario.profile
        if not profile.minimum <= profile.start <= profile.maximum:
            findings.add(("profile", "start"), "start of profile must be from minimum to maximum")
    for index, at_s in enumerate(scenario.recovers_from_s):
        _check_instant(at_s, scenario, ("recovers_from_s", str(index)), findings)
    check_cells(scenario, findings)


def _check_instant(at_s: float, scenario: Scenario, path: Path, findings: Findings) -> None:
    if findings.is_sound(("duration_s",)) and at_s >= scenario.duration_s:
        owner = f" of {path[0]} {int(path[1]) + 1}" if path[-1].isidentifier() else ""
        name = path[-1] if path[-1].isidentifier() else path[0]
        findings.add(
            path,
            f"{name}{owner} must be before the end of the scenario",
            note=f"it ends after {scenario.duration_s:g} s",
        )


def _check_backend(backend: BackendSpec, findings: Findings) -> None:
    for kind, keys in _ONLY_WITH.items():
        for key in keys:
            if kind != backend.kind and getattr(backend, key) != getattr(_PLAIN_BACKEND, key):
                findings.add(
                    ("backend", key),
                    f'{key} of backend means something for kind = "{kind}" only',
                    note=f'this backend is of kind "{backend.kind}"',
                )
    if backend.kind == "knee" and backend.hosts > 1:
        findings.add(("backend", "hosts"), "a backend of kind knee is one host")
    if backend.law == "recorded" and not backend.recorded_ms:
        findings.add(
            ("backend", "law"), "a recorded law needs lengths", help_text="list them: recorded_ms"
        )
    if backend.recorded_ms and backend.law != "recorded":
        findings.add(("backend", "recorded_ms"), 'recorded_ms needs law = "recorded"')
    if backend.cv is not None and backend.law != "lognormal":
        findings.add(("backend", "cv"), 'cv needs law = "lognormal": the other laws have their own')


def _check_client(client: ClientSpec, scenario: Scenario, path: Path, findings: Findings) -> None:
    owner = f"client {int(path[-1]) + 1}"
    _check_arrivals(client, path, owner, findings)
    _check_times(client, scenario, path, owner, findings)
    for word, _ in client.criticality:
        if Criticality.parse(word) is None:
            labels = [member.label for member in Criticality]
            near = difflib.get_close_matches(word, labels, n=1)
            findings.add(
                (*path, "criticality"),
                f'no criticality is called "{word}"',
                note=f'did you mean "{near[0]}"?' if near else f"there are {', '.join(labels)}",
            )
    if sum(weight for _, weight in client.criticality) <= 0:
        findings.add((*path, "criticality"), f"criticality of {owner} needs a weight above 0")
    if client.tenant and client.tenants:
        findings.add(
            (*path, "tenants"), f"{owner} has either one named tenant or a number of tenants"
        )
    laws = (client.law, client.think_law)
    if scenario.backend.law != "recorded" and "recorded" in laws:
        findings.add(path, f"{owner} follows a recorded law: the backend must record it")


def _check_arrivals(client: ClientSpec, path: Path, owner: str, findings: Findings) -> None:
    rates = (client.load is not None) + (client.rate_rps is not None)
    if client.arrivals in {"poisson", "constant"}:
        if rates != 1:
            findings.add(
                (*path, "rate_rps") if rates else path,
                f"{owner} has both load and rate_rps"
                if rates
                else f"{owner} needs either load or rate_rps",
                help_text="load is over the backend's capacity, rate_rps in requests per second",
            )
        if client.users:
            findings.add((*path, "users"), f'users of {owner} need arrivals = "closed"')
        return
    if rates:
        key = "load" if client.load is not None else "rate_rps"
        findings.add(
            (*path, key), f'{key} of {owner} means nothing with arrivals = "{client.arrivals}"'
        )
    if client.arrivals == "closed" and not client.users:
        findings.add(path, f"{owner} is closed and needs users")
    if client.arrivals == "at_once" and client.requests is None:
        findings.add(path, f"{owner} comes at once and needs requests")


def _check_times(
    client: ClientSpec, scenario: Scenario, path: Path, owner: str, findings: Findings
) -> None:
    _check_instant(client.start_s, scenario, (*path, "start_s"), findings)
    if client.stop_s is not None and client.stop_s <= client.start_s:
        findings.add((*path, "stop_s"), f"stop_s of {owner} must be after start_s")
    times = [at_s for at_s, _ in client.schedule]
    if any(later <= earlier for earlier, later in pairwise(times)):
        findings.add((*path, "schedule"), f"times in schedule of {owner} must rise")
    elif times:
        _check_instant(times[-1], scenario, (*path, "schedule"), findings)
    if client.ramp and not times:
        findings.add((*path, "ramp"), f"ramp of {owner} needs a schedule to climb along")
    changes = [key for key in ("burst_factor", "quiet_factor") if getattr(client, key) != 1.0]
    if changes and not 0 < client.burst_ms < client.burst_every_ms:
        findings.add(
            (*path, changes[0]),
            f"bursts of {owner} need burst_ms above 0 and below burst_every_ms",
        )


def _check_event(event: EventSpec, scenario: Scenario, path: Path, findings: Findings) -> None:
    owner = f"event {int(path[-1]) + 1}"
    _check_instant(event.at_s, scenario, (*path, "at_s"), findings)
    if event.what in _NEEDS_LENGTH and event.for_s <= 0:
        findings.add(path, f"{event.what} of {owner} needs for_s above 0")
    if event.what in _NEEDS_INTERVAL and event.every_s <= 0:
        findings.add(path, f"{event.what} of {owner} needs every_s above 0")
    if event.what == "pauses" and event.every_s and event.for_s >= event.every_s:
        findings.add((*path, "for_s"), f"the pauses of {owner} would never end")
    if event.until_s is not None and event.until_s <= event.at_s:
        findings.add((*path, "until_s"), f"until_s of {owner} must be after at_s")
    if event.what == "timeouts" and scenario.proxy.upstream_timeout_ms is None:
        findings.add(
            path,
            f"{event.what} of {owner} needs an end",
            help_text="upstream_timeout_ms in [proxy]: else what is never answered holds its slot",
        )
    if event.factor <= 0 and event.what != "downstream":
        findings.add((*path, "factor"), f"factor of {owner} must be above 0")
    kinds = _NEEDS_KIND.get(event.what)
    if kinds is not None and scenario.backend.kind not in kinds:
        findings.add(
            (*path, "what"),
            f"{event.what} of {owner} needs a backend of kind {' or '.join(kinds)}",
            note=f'it is of kind "{scenario.backend.kind}"',
        )


def _check_expectation(expectation: Expectation, path: Path, findings: Findings) -> None:
    owner = f"expect {int(path[-1]) + 1}"
    low, high = expectation.at_least, expectation.at_most
    if low is None and high is None:
        findings.add(path, f"{owner} needs a bound", help_text="at_least, at_most or both")
    elif (-math.inf if low is None else low) > (math.inf if high is None else high):
        findings.add((*path, "at_least"), f"at_least of {owner} is above at_most")
    if not expectation.by:
        findings.add((*path, "by"), f"{owner} binds nobody")
