"""The few lines a person sees at the start: where it listens, what it protects, what it does."""

from __future__ import annotations

from collections.abc import Sequence

from shedproxy.core import Mode
from shedproxy.snapshot import Document

__all__ = ["render_banner"]

_DOES = {
    Mode.ENFORCE: "what is too much is refused, the least important first",
    Mode.OBSERVE: "would-be refusals are counted, none are sent; --enforce to act",
    Mode.OFF: "nothing is decided; --enforce or --observe to begin",
}
_VERB = {Mode.ENFORCE: "protecting", Mode.OBSERVE: "observing", Mode.OFF: "passing"}


def render_banner(
    document: Document,
    *,
    listening: Sequence[str],
    control: Sequence[str],
    order_key: str = "",
    file: str = "",
    target: str = "",
) -> str:
    """Text with a line per fact; `target` is what is protected when it is no upstream."""
    mode = document.policy.mode
    behind = target or ", ".join(
        url for upstream in document.proxy.upstreams for url in upstream.urls
    )
    scheme = "https" if document.proxy.tls is not None else "http"
    lines = [(_VERB[mode], f"{_url(where, scheme)}  ->  {behind}") for where in listening]
    lines += [
        ("control", f"{_url(where, 'http')}  (/livez /readyz /metrics /-/status)")
        for where in control
    ]
    if order_key:
        lines.append(("orders", f"by this user; the key is in {order_key}"))
    lines.append(("mode", f"{mode.label} - {_DOES[mode]}"))
    lines.append(("limit", _limit(document)))
    lines.append(("settings", file or "no file: flags, environment and defaults"))
    return "".join(f"  {name:<11} {text}\n" for name, text in lines)


def _url(where: str, scheme: str) -> str:
    return where if where.startswith("unix:") else f"{scheme}://{where}"


def _limit(document: Document) -> str:
    shown = []
    for cell in document.policy.cells:
        limit = cell.limit
        text = (
            f"{limit.initial} in flight, fixed"
            if limit.algorithm == "fixed"
            else f"{limit.algorithm}, {limit.minimum} to {limit.maximum} in flight,"
            f" from {limit.initial}"
        )
        shown.append(text if len(document.policy.cells) == 1 else f"{cell.name}: {text}")
    return "; ".join(shown)
