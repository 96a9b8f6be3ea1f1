"""Every figure that a run may come to, by name: what an expectation may bound, and what it is.

A name that ends in a dot is completed by whom it is of: `client_served_ratio.users`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shedproxy.workload.scenario import Scenario

__all__ = ["describe", "figure_names"]

_FIGURES: Mapping[str, str] = {
    "goodput_ratio": "served in time, over the oracle's",
    "regret": "1 less that",
    "goodput_rps": "served in time, per second",
    "p50_ms": "latency of what was served, median",
    "p99_ms": "and its 99th percentile",
    "p99_ratio": "that over what is allowed",
    "refusal_wait_p50_ms": "time until a refusal is told, median",
    "refusal_wait_p99_ms": "and its 99th percentile",
    "served_ratio": "share served in time, of what ended",
    "refused_ratio": "share refused",
    "false_refusal_ratio": "share refused beyond the same queue at the true limit; not below 0",
    "false_refusal_excess": "the same with its sign, of all seeds together",
    "inversion_ratio": "share refused while a lower class was let in within 100 ms",
    "fairness": "Jain's index of tenants, over their max-min fair shares",
    "proxy_fairness": "Jain's index of what several proxies served",
    "recovery_s": "longest time until all is well again, from `recovers_from_s`",
    "recovery_s.": "the same from its first, second, ... instant",
    "drift_ratio": "limit at the end over that of the beginning, less 1",
    "baseline_drift_ratio": "the same of the latency taken for that without load",
    "baseline_worst_ratio": "of several proxies the one whose baseline rose most",
    "limit_mean": "mean limit",
    "limit_max": "highest limit",
    "limit_growth": "highest limit during an event that ends, over the last one before, less 1",
    "in_flight_mean": "requests that are let in, mean",
    "in_flight_max": "and the most at once",
    "inside_mean_ratio": "calls at the backend over what keeps it just busy, mean",
    "inside_max_ratio": "and the most at once",
    "uncounted_max_ratio": "of those, what the controller does not count any more",
    "spare_used_ratio": "useful work over the oracle's",
    "wasted_ratio": "share of the work whose answer nobody got",
    "task_optimum_ratio": "tasks over what the capacity allows",
    "sessions_ratio": "sessions completed, over the oracle's",
    "completions": "calls answered",
    "class_served_ratio.": "share of a class served in time",
    "client_served_ratio.": "share of a client's requests served in time",
    "client_missed.": "requests of a client without an answer in time",
    "client_latency_max_ms.": "longest latency of a client on the control lane",
    "clients_max_min_ratio": "share of the best served client over that of the worst served",
    "refused_share_sd": "scatter of the refused share while demand is steady",
    "refused_share_range": "its highest less its lowest value",
    "refused_settling_s": "time until it stays within 0.1 of its mean",
    "dip_ratio": "deepest fall of goodput below the oracle's after a step",
    "demand_error_ratio": "distance of the demand that is shown from what was offered",
    "oldest_served_ms": "longest that anybody served waited",
}
"""Of a world with one backend. Those of single experiments are measured where they are bound."""

_OF_CELLS: Mapping[str, str] = {
    "served_ratio": "share served in time, of what ended",
    "refused_ratio": "share refused",
    "failed_ratio": "share lost to hosts that went",
    "completions": "calls answered",
    "hurt_tenants_ratio": "tenants that lost more than one call in a thousand",
    "client_served_ratio.": "share of a client's calls served in time",
    "client_failed_ratio.": "share lost to hosts that went",
    "client_lost.": "calls of a client without an answer",
    "client_p99_ms.": "99th percentile of a client's latency",
    "client_p99_ratio.": "the same, over what it is without the flood",
    "client_guests_ratio.": "share served by another cell",
    "client_cells.": "cells that its keys led to",
    "same_outcomes.": "share of a client's calls to which the same happened without the flood",
    "goodput_rps.": "what a cell served in time, per second",
    "sent.": "calls that a cell sent to others",
    "taken.": "calls that it took from others",
    "guests_max.": "most of those at once",
    "limit.": "its limit at the end",
    "retries.": "calls that were sent again",
    "deaths.": "hosts that went",
    "staleness_max_s": "oldest table that was routed by",
    "table_lag": "versions of the table that the proxy is behind at the end",
    "moves": "keys that were moved",
}
"""Of a world of cells."""

_LEVELS = ("server_in_flight", "server_rate", "in_flight", "limit")
_RTTS = ("rtt", "rtt_averaged")
_VECTOR_S = frozenset(
    [f"{level}_{figure}" for level in _LEVELS for figure in ("max", "mean", "mode")]
    + [f"{rtt}_{figure}_s" for rtt in _RTTS for figure in ("min", "max", "mean")]
)
"""As Vector takes them in its tests of its limiter, where one of them is bound."""

_OF_CELL = frozenset(
    ("goodput_rps.", "sent.", "taken.", "guests_max.", "limit.", "retries.", "deaths.")
)


def figure_names(scenario: Scenario) -> frozenset[str]:
    """All that a run of the scenario may have."""
    clients = [client.name for client in scenario.client]
    if scenario.cell:
        cells = [cell.name for cell in scenario.cell]
        return frozenset(
            name
            for figure in _OF_CELLS
            for name in _completed(figure, cells if figure in _OF_CELL else clients)
        )
    owners = {
        "recovery_s.": [f"{number}" for number, _ in enumerate(scenario.recovers_from_s, 1)],
        "class_served_ratio.": [word for one in scenario.client for word, _ in one.criticality],
        "client_latency_max_ms.": [one.name for one in scenario.client if one.lane == "control"],
    }
    return _VECTOR_S | {
        name for figure in _FIGURES for name in _completed(figure, owners.get(figure, clients))
    }


def _completed(figure: str, owners: Iterable[str]) -> Iterable[str]:
    return [figure + owner for owner in owners] if figure.endswith(".") else [figure]


def describe(name: str) -> str:
    """What a figure is, in few words; nothing of those that are Vector's."""
    owned = f"{name.partition('.')[0]}."
    known = {**_OF_CELLS, **_FIGURES}
    return known[name] if name in known else known.get(owned, "")
