"""How the answers of a control listener look: tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shedproxy.settings.quantities import show_duration

__all__ = [
    "clear_screen",
    "print_explanation",
    "print_mode",
    "print_profiles",
    "print_reload",
    "print_restart",
    "print_status",
    "print_table",
    "print_zones",
]

_USUAL = ("in service", "unreachable")
_FRAMES_SHOWN = 5
"""Innermost frames of a stall."""


def clear_screen() -> None:
    """Begin at the top, on a terminal."""
    Console().clear()


def print_status(content: dict[str, Any]) -> None:
    """The status page."""
    facts = [
        ("state", _state(content)),
        ("mode", _mode(content)),
        ("listening", ", ".join(content["listening"])),
        (
            "version",
            f"{content['version']} ({content['build']}), up {_length(content['uptime_s'])}",
        ),
        ("config", _config(content["config"])),
        *((("zones away", away),) if (away := _zones(content)) else ()),
    ]
    if content.get("snapshot"):
        facts.append(("snapshot", _snapshot(content["snapshot"])))
    _print_facts(facts)
    _print_cells(content["cells"])
    print_profiles(content["cells"])
    print_table(
        ("worker", "pid", "state", "heartbeat", "restarts", "connections", "last exit"),
        [
            (
                worker["index"],
                worker["pid"] or "-",
                worker["state"] + (" (crash loop)" if worker["is_crash_looping"] else ""),
                f"{worker['heartbeat_age_s']:.1f} s",
                worker["restarts"],
                worker["connections"],
                worker["last_exit"] or "-",
            )
            for worker in content["workers"]
        ],
    )
    for worker in content["workers"]:
        _print_stall(worker)
        if worker["page_lost"]:
            lost = "has a part of the limits and is not in the figures above"
            _print_line(f"worker {worker['index']} {lost}: {worker['page_lost']}")
    if len(content["workers"]) > 1:
        _print_worker_cells(content)
    print_table(
        ("upstream", "cell", "health"),
        [
            (url, cell, _health(content, cell, url, ok=ok))
            for cell, health in content["upstreams"].items()
            for url, ok in health.items()
        ],
    )


def _print_worker_cells(content: dict[str, Any]) -> None:
    """Each worker's own view, and how far apart they are."""
    rows = []
    for cell in content["cells"]:
        name, apart = cell["name"], cell["disagreement"]
        for worker in content["workers"]:
            seen = worker["cells"][name]
            baseline = seen["baseline_ms"]
            rows.append(
                (
                    name,
                    worker["index"],
                    seen["in_flight"],
                    seen["limit"],
                    seen["queue_length"],
                    seen["shed_rank"],
                    "-" if baseline is None else f"{baseline:.1f} ms",
                )
            )
        shares = (f"{apart[about]:.0%}" for about in ("limit", "shed_level", "baseline"))
        limit, shed_level, baseline = shares
        rows.append((name, "apart", "", limit, "", shed_level, baseline))
    headings = ("cell", "worker", "in flight", "limit", "queue", "shed level", "baseline")
    print_table(headings, rows)


def _health(content: dict[str, Any], cell: str, url: str, *, ok: bool) -> str:
    """What the workers can use, and what was decided for all of them."""
    for host in content["hosts"]["hosts"]:
        if (host["cell"], host["host"]) == (cell, url) and host["state"] not in _USUAL:
            return str(host["state"])
    return "healthy" if ok else "out"


def _print_stall(worker: dict[str, Any]) -> None:
    stall = worker["last_stall"]
    if stall is None:
        return
    length = f"{stall['length_ms']:.0f} ms" + ("" if stall["is_over"] else " so far")
    where = "stopped by a signal" if stall["is_stopped"] else "its event loop stalled"
    _print_line(f"worker {worker['index']}: {where} for {length}")
    for frame in stall["stack"][:_FRAMES_SHOWN]:
        _print_line(f"  in {frame}")


def _print_cells(cells: Sequence[dict[str, Any]]) -> None:
    print_table(
        ("cell", "in flight", "limit", "queue", "streams", "zombies", "pressure", "shed level"),
        [
            (
                cell["name"],
                cell["in_flight"],
                cell["limit"],
                cell["queue_length"],
                cell["residents"],
                cell["zombies"],
                f"{cell['pressure']:.2f}",
                cell["shed_rank"],
            )
            for cell in cells
        ],
    )
    print_table(
        ("cell", "admitted", "refused", "would refuse", "baseline", "limit moved by"),
        [
            (
                cell["name"],
                cell["admitted"],
                cell["rejected"],
                cell["would_reject"],
                "-" if cell["baseline_ms"] is None else f"{cell['baseline_ms']:.1f} ms",
                cell["limit_cause"] or "-",
            )
            for cell in cells
        ],
    )


def print_profiles(cells: Sequence[dict[str, Any]]) -> None:
    """What calibrated cells rest on; nothing where none is calibrated."""
    print_table(
        ("cell", "profile", "age", "for hosts", "slowdown", "alarm"),
        [
            (
                cell["name"],
                profile["id"],
                _age(profile),
                profile["weight"],
                "-" if profile["slowdown"] is None else f"{profile['slowdown']:.2f}",
                profile["alarm"] or "-",
            )
            for cell in cells
            if (profile := cell.get("profile")) is not None
        ],
    )


def _age(profile: dict[str, Any]) -> str:
    if profile["age_days"] is None:
        return "-"
    return f"{profile['age_days']} days" + (", expired" if profile["is_expired"] else "")


def print_mode(content: dict[str, Any]) -> None:
    """The mode in force after a change."""
    override = content["override"]
    until = "" if override is None else f" for {_length(override['expires_in_s'])}"
    _print_line(f"{content['mode']}{until}")


def print_zones(content: dict[str, Any]) -> None:
    """The zones that are weighed away after a change."""
    away = content["zones_away"]
    for zone, left in away.items():
        _print_line(f"{zone} away for {_length(left)}")
    if not away:
        _print_line("no zone is away")


def print_reload(content: dict[str, Any]) -> None:
    """What became of a reload."""
    if content["ok"]:
        applied, workers = content.get("workers_applied", 0), content.get("workers", 0)
        _print_line(f"revision {content['revision']} in force, {applied} of {workers} workers")
        for name in content["needs_restart"]:
            _print_line(f"{name} changed, which takes effect at the next start")
        return
    _print_line(f"refused; revision {content['revision']} stays in force")
    for problem in content["problems"]:
        _print_line(f"  {_problem(problem)}")


def print_restart(content: dict[str, Any]) -> None:
    """What became of a rolling restart."""
    _print_line(f"{content['replaced']} of {content['workers']} workers replaced")
    if content["why"]:
        _print_line(f"  the next one is as it was: {content['why']}")


def print_explanation(content: dict[str, Any]) -> None:
    """An explanation of a request, or of a refusal."""
    if "refusal" in content:
        _print_refusal(content["refusal"])
        return
    rule = content["rule"]
    facts = [
        ("rule", "none (defaults)" if rule is None else f"{rule['name']} (#{rule['index'] + 1})"),
        ("cell", content["cell"]),
        ("class", content["criticality"] + (", retry" if content["is_retry"] else "")),
        ("lane", content["lane"]),
        ("kind", content["kind"]),
        ("cost", str(content["cost"])),
        ("mode", content["mode"]),
    ]
    if content["time_left_ms"] is not None:
        facts.append(("time left", f"{content['time_left_ms']:g} ms"))
    decision = content.get("decision")
    if decision is not None:
        reason = f" ({decision['reason']})" if decision["reason"] else ""
        facts.append(("now", f"{decision['answer']}{reason}: {decision['why']}"))
    for flip in content["flips"]:
        count = flip["count"].replace("_", " ")
        facts.append(("flips", f"at {count} {flip['at']}: {flip['becomes']} ({flip['because']})"))
    _print_facts(facts)


def _print_refusal(refusal: dict[str, Any]) -> None:
    when = datetime.fromtimestamp(refusal["at"], tz=UTC).isoformat(timespec="milliseconds")
    sent = "sent" if refusal["was_sent"] else f"not sent (mode {refusal['mode']})"
    numbers = ", ".join(f"{name}={value}" for name, value in refusal["numbers"].items())
    counts = (
        f"{refusal['in_flight']} of {refusal['limit']} in flight, {refusal['queue_length']} waiting"
    )
    holds = "the reason follows from the numbers" if refusal["holds"] else "DOES NOT HOLD"
    _print_facts(
        [
            ("id", refusal["id"]),
            ("reason", refusal["reason"]),
            ("why", refusal["sentence"]),
            ("when", when),
            ("refusal", sent),
            ("route", f"{refusal['route']} in cell {refusal['cell']}"),
            ("class", refusal["criticality"] + (", retry" if refusal["is_retry"] else "")),
            ("then", counts),
            ("numbers", numbers or "none"),
            ("check", holds),
        ]
    )


def _state(content: dict[str, Any]) -> str:
    if content["ready"]:
        return str(content["state"])
    return f"{content['state']}, not ready ({'; '.join(content['not_ready_because'])})"


def _mode(content: dict[str, Any]) -> str:
    override = content["override"]
    if override is None:
        return str(content["mode"])
    left = _length(override["expires_in_s"])
    return f"{content['mode']} for {left} more, then {content['configured_mode']}"


def _snapshot(content: dict[str, Any]) -> str:
    """What is in force, how old, and what was refused."""
    if content["revision"]:
        text = f"revision {content['revision']}, {content['digest'][:19]}"
    elif content["awaited_s"]:
        text = f"none yet: not ready for {_length(content['awaited_s'])} more at most"
    else:
        text = "none: the settings are served, which know of no moved key"
    if content["age_s"] is not None:
        text += f", fetched {_length(content['age_s'])} ago"
    if content["is_stale"]:
        text += " (stale)"
    if content["failure"]:
        text += f"; not fetched: {content['failure']}"
    refusal = content["refusal"]
    if refusal is not None:
        which = f" {refusal['revision']}" if refusal["revision"] else ""
        text += f"; refused{which}: {refusal['reason']}: {'; '.join(refusal['problems'][:3])}"
    return text


def _zones(content: dict[str, Any]) -> str:
    away = content.get("zones_away") or {}
    return ", ".join(f"{zone} for {_length(left)} more" for zone, left in away.items())


def _config(result: dict[str, Any]) -> str:
    age = _length(result["age_s"])
    if result["ok"]:
        return f"revision {result['revision']}, {age} ago ({result['cause']})"
    problems = "; ".join(_problem(problem) for problem in result["problems"])
    return f"revision {result['revision']} kept: reload {age} ago was refused: {problems}"


def _problem(problem: dict[str, Any]) -> str:
    where = f"{problem['source']}:{problem['line']}: " if problem["line"] else ""
    return f"{where}{problem['message']}"


def _length(seconds: float) -> str:
    return show_duration(round(seconds) * 1_000_000_000)


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    if not sys.stdout.isatty():
        for name, value in facts:
            _print_line(f"{name}: {value}")
        return
    table = Table.grid(padding=(0, 2))
    for name, value in facts:
        table.add_row(f"[bold]{escape(name)}[/]", escape(value))
    Console().print(table)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under a head; nothing where there are none."""
    if not rows:
        return
    if sys.stdout.isatty():
        table = Table(*head, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(escape(str(value)) for value in row))
        Console().print()
        Console().print(table)
        return
    texts = [list(head), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    _print_line("")
    for row in texts:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        _print_line("  ".join(cells).rstrip())


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
