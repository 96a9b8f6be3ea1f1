"""How the answers of a control plane look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer

from shedproxy.cli.remote_views import print_table
from shedproxy.core import seconds
from shedproxy.settings import show_duration

__all__ = ["move_line", "print_audit", "print_fleet"]

_DIGEST = 19
"""`sha256:` and twelve digits say enough."""
_HOSTS_SHOWN = 5
"""Of those that a move waits for."""


def print_fleet(content: dict[str, Any]) -> None:
    """The fleet."""
    if not content["store"]["ok"]:
        typer.echo(f"store gone: {content['store']['why']}; what follows may be old")
    typer.echo(f"revision  {content['revision']}")
    typer.echo(f"base      {content['base'][:_DIGEST]}")
    for whose, ahead_s in content.get("clocks_apart", {}).items():
        typer.echo(f"clock     {whose} is {abs(ahead_s):g}s {'ahead' if ahead_s > 0 else 'behind'}")
    if content["promotion"] is not None:
        _print_promotion(content["promotion"])
    if content["move"] is not None:
        typer.echo(move_line(content["move"]))
        for host, why in list(content["move"]["waits_for"].items())[:_HOSTS_SHOWN]:
            typer.echo(f"  waits for {host}: {why}")
    elif content["move_given_up"]:
        typer.echo(f"given up  the last move: {content['move_given_up']}")
    if content["moved"]:
        typer.echo(f"moved     {_moved(content['moved'])}")
    for zone, left in content["zones_away"].items():
        typer.echo(f"away      zone {zone}, for {_length(left)}")
    for cell in content["cells"]:
        if cell["is_quarantined"]:
            typer.echo(f"quarantine  cell {cell['name']}, {cell['hosts']} hosts")
    newest = content["releases"][-1] if content["releases"] else None
    if newest is not None and newest["digest"] != content["base"]:
        typer.echo(f"newest    {newest['digest'][:_DIGEST]}, published by {newest['by']}")
    print_table(
        ("host", "cell", "zone", "to run", "runs", "requests", "errors", "refused", "p99", "note"),
        [_host(each) for each in content["hosts"]],
    )


def move_line(move: dict[str, Any]) -> str:
    """The tenant that moves, and how far it is."""
    count = len(move["waits_for"])
    waits = f", waits for {count} host{'s' if count > 1 else ''}" if count else ""
    return (
        f"moving    {move['name'] or move['key']} from {move['from']} to {move['to']}:"
        f" {move['phase']} for {move['for_s']:g}s{waits}"
    )


def print_audit(content: dict[str, Any]) -> None:
    """One line an act."""
    for each in content["entries"]:
        at = datetime.fromtimestamp(each["at_s"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        facts = " ".join(f"{k}={_shown(v)}" for k, v in each["facts"].items() if v not in ("", []))
        line = f"{each['revision']:>5}  {at}  {each['who']}: {each['verb']}"
        line += f"  {facts}" if facts else ""
        line += f"  ({each['why']})" if each["why"] else ""
        line += f"  REFUSED: {each['refusal']}" if each["refusal"] else ""
        typer.echo(line)


def _print_promotion(promotion: dict[str, Any]) -> None:
    where = f" in zone {promotion['zone']}" if promotion["zone"] else ""
    typer.echo(
        f"promoting {promotion['digest'][:_DIGEST]}{' (forced)' if promotion['force'] else ''}:"
        f" {promotion['phase']},"
        f" {promotion['scope']}{where}"
        f" (step {promotion['step']}), {promotion['hosts_moved']} of {promotion['hosts']} hosts"
    )
    if promotion["cause"]:
        typer.echo(f"  because {promotion['cause']}")
    else:
        typer.echo(
            f"  watched {_length(promotion['watched_s'])} of {_length(promotion['bake_s'])},"
            f" {promotion['requests']} of {promotion['requests_min']} requests"
        )
    for each in promotion["evidence"]:
        (bad, of), (other_bad, other_of) = each["candidate"], each["control"]
        typer.echo(
            f"  {each['of']}: {bad} of {of}, and {other_bad} of {other_of} without it"
            f" (evidence {each['times']:g}, {each['proven']:.0%} of the proof that it is no harm)"
        )


def _moved(keys: list[dict[str, Any]]) -> str:
    by_cell: dict[str, int] = {}
    for each in keys:
        by_cell[each["cell"]] = by_cell.get(each["cell"], 0) + 1
    return ", ".join(f"{count} to {cell}" for cell, count in sorted(by_cell.items()))


def _host(host: dict[str, Any]) -> tuple[Any, ...]:
    note = host["trouble"] or ("" if host["is_heard"] else "not heard of")
    return (
        host["name"],
        host["cell"],
        host["zone"],
        host["to_run"][:_DIGEST],
        host["runs"][:_DIGEST],
        host["requests"],
        host["errors"],
        host["sheds"],
        f"{host['p99_ms']:g} ms",
        f"held; {note}" if host["is_held"] and note else "held" if host["is_held"] else note,
    )


def _length(length_s: float) -> str:
    return show_duration(seconds(length_s)) if length_s else "0s"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    text = str(value)
    return text[:_DIGEST] if text.startswith("sha256:") else text
