"""Upstreams as people write them: a URL, and where it is and what it runs."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from shedproxy.settings.quantities import invalid

__all__ = ["UpstreamUrl", "ZoneName", "split_upstream"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


def split_upstream(text: str) -> tuple[str, str, str]:
    """URL, zone and version of an upstream as it is written: "URL zone=a version=2"."""
    url, *words = text.split()
    facts = dict(word.split("=", 1) for word in words)
    return url, facts.get("zone", ""), facts.get("version", "")


def _upstream(value: str) -> str:
    first, *words = value.split() or [""]
    url = _upstream_url(first)
    known: set[str] = set()
    for word in words:
        name, sign, text = word.partition("=")
        if name not in {"zone", "version"} or not sign or not _NAME.fullmatch(text):
            raise invalid(
                f'"{word}" says nothing of an upstream',
                help_text='after the URL "zone=NAME" and "version=NAME" may follow',
            )
        if name in known:
            raise invalid(f'"{name}" is said twice of an upstream')
        known.add(name)
    return " ".join((url, *words))


def _upstream_url(value: str) -> str:
    if value.startswith("unix:"):
        if not value.startswith("unix:/"):
            raise invalid(
                f'"{value}" is not an upstream', help_text='expected "unix:/absolute/path"'
            )
        return value
    reason = _upstream_fault(value)
    if reason:
        raise invalid(f'"{value}" is not an upstream', help_text=reason)
    return value.rstrip("/")


def _upstream_fault(value: str) -> str:
    if "://" not in value:
        if re.fullmatch(r"[\w.-]*(:\d+)?/?", value):
            host = f"127.0.0.1{value}" if value.startswith(":") else value
            return f'did you mean "http://{host}"?'
        return 'expected "http://host:port", "https://host:port" or "unix:/path"'
    try:
        parts = urlsplit(value)
        port_is_zero = parts.port == 0
    except ValueError:
        return "the port must be a number from 1 to 65535"
    if parts.scheme not in {"http", "https"}:
        return f'"{parts.scheme}" is not supported: use http or https'
    if not parts.hostname or port_is_zero:
        return 'expected "http://host:port"'
    if parts.username is not None:
        return "user and password do not belong here; an upstream sees the client's own headers"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return (
            "an upstream has no path: requests go on with their own,"
            f' so write "{parts.scheme}://{parts.netloc}"'
        )
    return ""


def _zone_or_none(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise invalid(f'"{value}" is not the name of a zone')
    return value


UpstreamUrl = Annotated[str, AfterValidator(_upstream)]
""""http://host:port", "https://host:port" or "unix:/path", then "zone=a" and "version=2"."""

ZoneName = Annotated[str, AfterValidator(_zone_or_none)]
"""Name of a zone, or ""."""
