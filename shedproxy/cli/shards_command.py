"""`shards plan`: what shuffle sharding of upstreams promises, and what it cannot."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shedproxy.cli.exit_codes import EXIT_FAILED

if TYPE_CHECKING:
    from shedproxy.placement import ShardPlan

__all__ = ["shards"]


shards = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@shards.callback()
def _group() -> None:
    """Plan how few upstreams a tenant shares with others."""


@shards.command(
    help="""Print how many upstreams two tenants share, and refuse what cannot be.

    Exit code 0: it can be kept, 1: it cannot, with the reason.

    \b
    Examples:
        shedproxy shards plan --upstreams 64 --hand 3 --tenants 4000
        shedproxy shards plan --upstreams 64 --hand 4 --max-overlap 2 --tenants 4000
        shedproxy shards plan --upstreams 60 --hand 4 --zones 3 --versions 2 --json
    """
)
def plan(
    upstreams: Annotated[int, typer.Option("--upstreams", min=1, help="Upstreams of the cell.")],
    hand: Annotated[int, typer.Option("--hand", min=1, help="Upstreams of one tenant.")],
    zones: Annotated[int, typer.Option("--zones", min=1, help="Zones they lie in.")] = 1,
    versions: Annotated[int, typer.Option("--versions", min=1, help="Versions they run.")] = 1,
    max_overlap: Annotated[
        int | None,
        typer.Option("--max-overlap", min=0, help="Most upstreams that two tenants may share."),
    ] = None,
    tenants: Annotated[int, typer.Option("--tenants", min=0, help="How many tenants.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
) -> None:
    """Print how many upstreams two tenants share, and refuse what cannot be."""
    from shedproxy.placement import Lattice, plan_shards

    try:
        lattice = Lattice(upstreams=upstreams, hand=hand, zones=zones, versions=versions)
        made = plan_shards(lattice, tenants=tenants, overlap_max=max_overlap)
    except ValueError as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    if as_json:
        typer.echo(json.dumps(_told(made), indent=2))
    else:
        typer.echo("\n".join(_lines(made)))
    if made.refusal:
        if not as_json:
            typer.echo(f"refused: {made.refusal}", err=True)
        raise typer.Exit(EXIT_FAILED)


def _told(made: ShardPlan) -> dict[str, object]:
    return {
        **asdict(made.lattice),
        "hands": made.lattice.hands,
        "overlap_law": list(made.law),
        "tenants": made.tenants,
        "overlap_max": made.overlap_max,
        "tenants_max": made.tenants_max,
        "tenants_dealt": made.tenants_dealt,
        "refusal": made.refusal or None,
    }


def _lines(made: ShardPlan) -> list[str]:
    lattice = made.lattice
    spread = ""
    if lattice.zones * lattice.versions > 1:
        spread = (
            f", {lattice.depth} in each of {lattice.used} compartments that share no zone"
            f"{' nor version' if lattice.versions > 1 else ''}"
        )
    lines = [
        (
            f"{lattice.upstreams} upstreams, hands of {lattice.hand}{spread}:"
            f" {lattice.hands:,} different hands"
        ),
        "",
        "  two tenants share      probability" + ("    tenants" if made.tenants else ""),
    ]
    for count, share in enumerate(made.law):
        what = "all" if count == lattice.hand else str(count)
        row = f"  {what:>17}      {share:>11.3g}"
        if made.tenants:
            row += f"  {max(0, made.tenants - 1) * share:>9.4g}"
        lines.append(row)
    if made.tenants:
        lines += ["", f"  tenants: of the other {made.tenants - 1}, how many to expect"]
    if made.overlap_max is not None:
        lines += [
            "",
            (
                f"  no two share more than {made.overlap_max}: {made.tenants_max:,} tenants at"
                " most; a search gets part of the way, plan for half"
            ),
        ]
        if made.tenants_dealt:
            lines.append(f"  hands dealt within that bound: {made.tenants_dealt:,}")
    return lines
