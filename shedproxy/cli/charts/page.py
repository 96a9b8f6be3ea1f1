"""The page around any report: one file with its styles, scripts and data, and nothing from outside.

A content security policy in the page forbids every connection and every script but the two that
are in it, by their digests: what a report shows can neither call out nor run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

from shedproxy.cli.charts.markup import Html, element, join

__all__ = ["asset", "embedded_json", "render_page"]

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M2 13V8h3v5zm4.5 0V3h3v10zM11 13V6h3v7z' fill='%23457fe6'/%3E%3C/svg%3E"
)


def render_page(*, title: str, header: Html, body: Html, footer: str) -> str:
    """A whole HTML document, light or dark as the reader prefers, that prints in light.

    Args:
        title: of the window.
        header: markup of the head of the page, its `h1` included.
        body: markup of the sections.
        footer: a line about what made the page.
    """
    styles = asset("uplot/uPlot.min.css") + asset("report.css")
    chart_script = f"/*\n{asset('uplot/LICENSE')}*/\n{asset('uplot/uPlot.iife.min.js')}"
    scripts = [chart_script, asset("report.js")]
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src {' '.join(_digest(script) for script in scripts)}"
    )
    head = join(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("link", rel="icon", href=_ICON),
        element("style", Html(styles)),
    )
    content = join(
        element("a", "Skip to the content", class_="skip", href="#content"),
        element("header", header),
        element("main", body, id="content", tabindex="-1"),
        element("footer", footer),
        *(element("script", Html(script)) for script in scripts),
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{content}</body>\n</html>\n'
    )


def asset(name: str) -> str:
    """The text of a file of this package."""
    return files("shedproxy.cli.charts").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def embedded_json(value: Any) -> Html:
    """`value` in a script element of data: nothing inside it can end the element.

    Raises:
        ValueError: when a number in it is not finite, which JSON cannot say.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return element("script", Html(text), type="application/json")
