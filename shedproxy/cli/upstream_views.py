"""How hosts and magazines look: one table each."""

from __future__ import annotations

import sys
from typing import Any

from shedproxy.cli.remote_views import print_table

__all__ = ["of_cell", "print_upstreams"]


def of_cell(content: dict[str, Any], cell: str) -> dict[str, Any]:
    """What concerns one cell: its hosts and bullets, and magazines that are not another cell's."""
    return content | {
        "hosts": [host for host in content["hosts"] if host["cell"] == cell],
        "bullets": [bullet for bullet in content["bullets"] if bullet["cell"] == cell],
        "magazines": [
            magazine
            for magazine in content["magazines"]
            if magazine["domain"] == f"cell:{cell}" or not magazine["domain"].startswith("cell:")
        ],
    }


def print_upstreams(content: dict[str, Any]) -> None:
    """Every host, then every magazine, then the bullets that are out."""
    print_table(
        ("upstream", "cell", "zone", "state", "weight", "reason", "out for", "bullet"),
        [
            (
                host["host"],
                host["cell"],
                host["zone"] or "-",
                host["state"],
                f"{host['weight']:.2f}",
                host["reason"] or "-",
                _seconds(host["out_s"]),
                host["bullet"] or "-",
            )
            for host in content["hosts"]
        ],
    )
    print_table(
        ("magazine", "bullets left", "out", "spent", "given back", ""),
        [
            (
                magazine["domain"],
                f"{magazine['left']} of {magazine['size']}",
                magazine["out"],
                magazine["spent"],
                magazine["reloaded"],
                "frozen" if magazine["frozen"] else "",
            )
            for magazine in content["magazines"]
        ],
    )
    print_table(
        ("bullet", "cell", "host", "is", "replacement"),
        [
            (
                bullet["serial"],
                bullet["cell"],
                bullet["host"],
                bullet["state"],
                bullet["new"] or bullet["errand"],
            )
            for bullet in content["bullets"]
        ],
    )
    if content["fault"]:
        sys.stdout.write(f"\nnobody is taken out: {content['fault']}\n")


def _seconds(length: float | None) -> str:
    return "-" if length is None else f"{length:.0f} s"
