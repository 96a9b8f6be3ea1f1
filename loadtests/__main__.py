"""Load on the real `shedproxy run`, all of it on loopback.

    python -m loadtests                         0.5, 1.2, 3 and 10 x the capacity of 4 slots x 20 ms
    python -m loadtests --factors 2 5 --for 30  other factors; seconds per factor
    python -m loadtests --slots 16 --service-ms 40 --json
    python -m loadtests acceptance              calibrations of services of known truth
    python -m loadtests bad-policies            bad and harmless settings through real Shedders
    python -m loadtests blast-radius            what one poison tenant costs the others
    python -m loadtests bullets                 bad hosts, a broken check, a lost zone, a kill
    python -m loadtests cell-isolation          one of four cells at 3 x, and what others notice
    python -m loadtests control-plane           a flooded control plane, and what clients notice
    python -m loadtests coverage                intervals of capacity that hold the truth, by seeds
    python -m loadtests disk-alone              hosts killed with their control plane and store gone
    python -m loadtests drift                   alarms of the drift watch, over days of traffic
    python -m loadtests move                    a tenant moved from cell to cell, and what it loses
    python -m loadtests play SCENARIO           a scenario of the suite in real time
    python -m loadtests promotions              good and bad releases, and how far they come
    python -m loadtests reality                 the same load live and simulated, compared
    python -m loadtests refusals                how refusals reach their clients at 3 x capacity
    python -m loadtests retries                 five layers of retries, and throttles of clients
    python -m loadtests restarts                restarts and reloads under load, and what they lose
    python -m loadtests shop                    six services and five APIs in a surge

Every step starts a fresh service and a fresh proxy with defaults, so each includes a cold start.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from loadtests import (
    acceptance,
    bad_policies,
    blast_radius,
    bullets,
    cell_isolation,
    control_plane,
    coverage,
    disk_alone,
    drift,
    move,
    play,
    promotions,
    reality,
    refusals,
    restarts,
    retries,
    shop,
)
from shedproxy.core import Criticality, seconds, to_milliseconds
from shedproxy.loadgen.demo import Demo

COMMANDS: Mapping[str, tuple[ModuleType, Callable[..., int]]] = {
    "acceptance": (acceptance, acceptance.acceptance),
    "bad-policies": (bad_policies, bad_policies.run),
    "blast-radius": (blast_radius, blast_radius.run),
    "bullets": (bullets, bullets.run),
    "cell-isolation": (cell_isolation, cell_isolation.run),
    "control-plane": (control_plane, control_plane.run),
    "coverage": (coverage, coverage.coverage),
    "disk-alone": (disk_alone, disk_alone.run),
    "drift": (drift, drift.drift),
    "move": (move, move.run),
    "play": (play, play.play),
    "promotions": (promotions, promotions.run),
    "reality": (reality, reality.compare),
    "refusals": (refusals, refusals.refusals),
    "restarts": (restarts, restarts.run),
    "retries": (retries, retries.run),
    "shop": (shop, shop.run),
}
"""Beside the sweep of overload, which has no name: what describes each, and what runs it."""


def options() -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    """What was asked for, and the parser of that command."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.2, 3.0, 10.0])
    parser.add_argument("--for", type=float, default=10.0, dest="length", help="seconds a factor")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--service-ms", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    parsers: dict[str | None, argparse.ArgumentParser] = {None: parser}
    for name, (module, _) in COMMANDS.items():
        parsers[name] = commands.add_parser(
            name,
            help=(module.__doc__ or "").partition("\n")[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(parsers[name])
    chosen = parser.parse_args()
    return chosen, parsers[chosen.command]


def main() -> None:
    """Run the command that was asked for."""
    chosen, parser = options()
    if chosen.command is not None:
        _, run = COMMANDS[chosen.command]
        sys.exit(run(chosen, parser))
    sweep(chosen, parser)


def sweep(chosen: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Goodput of a small service through shedproxy at rising overload."""
    if not 2 <= chosen.length <= 120 or min(chosen.factors) <= 0 or max(chosen.factors) > 20:
        parser.error("factors lie in 0..20, and a factor takes 2 to 120 seconds")
    if not chosen.json:
        print(
            f"{'offered':>8} {'goodput':>8} {'p50 ms':>7} {'p99 ms':>7}  critical  refused  failed"
        )
    for factor in chosen.factors:
        demo = Demo(
            duration_ns=seconds(chosen.length),
            slots=chosen.slots,
            service_ms=chosen.service_ms,
            overload=factor,
            seed=chosen.seed,
        )
        summary, capacity_rps, health = demo.run_shed(lambda *_: None)
        critical = summary.by_class[Criticality.CRITICAL]
        row = {
            "factor": factor,
            "goodput_ratio": round(summary.goodput_rps / min(capacity_rps, summary.offered_rps), 4),
            "p50_ms": round(to_milliseconds(summary.p50_ns or 0), 1),
            "p99_ms": round(to_milliseconds(summary.p99_ns or 0), 1),
            "critical_served_ratio": round(critical.served / critical.offered, 4),
            "refused": summary.refused,
            "failed": summary.failed,
            "send_lag_p99_ms": round(to_milliseconds(health.send_lag_p99_ns), 2),
        }
        if chosen.json:
            print(json.dumps(row), flush=True)
            continue
        print(
            f"{factor:>7.1f}x {row['goodput_ratio']:>8.3f} {row['p50_ms']:>7} {row['p99_ms']:>7}"
            f"  {row['critical_served_ratio']:>8.1%} {row['refused']:>8} {row['failed']:>7}",
            flush=True,
        )


if __name__ == "__main__":
    main()
