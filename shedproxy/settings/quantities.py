"""Values with a unit or a form of their own: durations, sizes, networks, addresses, upstreams.

Each is an annotated type: the text as people write it is checked and converted once, when settings
are read, and errors say what would have been right.
"""

from __future__ import annotations

import ipaddress
import os
import re
import typing
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from shedproxy.core import Nanos

__all__ = [
    "Duration",
    "HeaderName",
    "ListenAddress",
    "Network",
    "OptionalHeaderName",
    "PathPattern",
    "Size",
    "TenantKey",
    "TextList",
    "WorkerCount",
    "at_least",
    "invalid",
    "is_duration",
    "parse_duration",
    "parse_size",
    "show_duration",
    "split_address",
]

_DURATION_UNITS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_DURATION_MAX = 365 * _DURATION_UNITS["d"]
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]{0,3})", re.ASCII)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def invalid(message: str, *, note: str = "", help_text: str = "") -> PydanticCustomError:
    """An error of ours: `message` as the headline, `note` at the caret, `help_text` below."""
    context = {"message": message, "note": note, "help": help_text}
    return PydanticCustomError("shedproxy", "{message}", context)


def parse_duration(text: str) -> Nanos:
    """Nanoseconds of `250ms`, `1.5s`, `1m30s`, `12h`, `0`.

    Raises:
        ValueError: no duration, or longer than a year; says what was expected.
    """
    compact = text.strip()
    if compact == "0":
        return Nanos(0)
    if not _DURATION.fullmatch(compact):
        raise ValueError('expected a number and a unit (ns us ms s m h d), like "250ms" or "1m30s"')
    total = sum(
        Decimal(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(compact)
    )
    if total > _DURATION_MAX:
        raise ValueError("longer than a year")
    return Nanos(round(total))


def parse_size(text: str) -> int:
    """Bytes of `16KiB`, `1.5MiB`, `64kB`, `512`.

    Raises:
        ValueError: no size; says what was expected.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError('expected a number and a unit (B kB MB GB KiB MiB GiB), like "16KiB"')
    return round(Decimal(match[1]) * unit)


def show_duration(length_ns: int) -> str:
    """The shortest text that `parse_duration` reads back as this length."""
    for unit in ("h", "m", "s", "ms", "us"):
        if length_ns and length_ns % _DURATION_UNITS[unit] == 0:
            return f"{length_ns // _DURATION_UNITS[unit]}{unit}"
    return f"{length_ns}ns" if length_ns else "0s"


def _duration(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value == 0:
            return 0
        raise invalid(
            f"{value} has no unit",
            note="a duration needs a unit",
            help_text=f'write "{value}ms" or "{value}s", whichever was meant',
        )
    if not isinstance(value, str):
        raise invalid(f"expected a duration, found {_kind(value)}", help_text='like "250ms"')
    try:
        return parse_duration(value)
    except ValueError as error:
        raise invalid(
            f'"{value}" is not a duration', help_text=str(error), note=_number_note(value)
        ) from None


def _number_note(value: str) -> str:
    return "the unit is missing" if re.fullmatch(r"\d+(\.\d+)?", value.strip()) else ""


def is_duration(annotation: Any) -> bool:
    """Whether an annotation, `| None` or not, is a `Duration`."""
    parts = [annotation, *typing.get_args(annotation)]
    return any(
        isinstance(part, BeforeValidator) and part.func is _duration
        for outer in parts
        for part in typing.get_args(outer)
    )


def _size(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str):
        raise invalid(f"expected a size, found {_kind(value)}", help_text='like "16KiB"')
    try:
        return parse_size(value)
    except ValueError as error:
        raise invalid(f'"{value}" is not a size', help_text=str(error)) from None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "something else"


def at_least(text: str) -> AfterValidator:
    """A lower bound of a `Duration`, written as a duration."""
    bound = parse_duration(text)

    def check(value: Nanos) -> Nanos:
        if value < bound:
            raise invalid(f"must be at least {text}", note=f"{show_duration(value)} is less")
        return value

    return AfterValidator(check)


def _network(value: str) -> str:
    if value == "unix":
        return value
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise invalid(
            f'"{value}" is not a network', note=_network_note(value), help_text=_network_help(value)
        ) from None
    return value


def _network_note(value: str) -> str:
    return "not address/prefix" if "/" not in value else ""


def _network_help(value: str) -> str:
    try:
        wider = ipaddress.ip_network(value, strict=False)
    except ValueError:
        return 'write CIDR, like "10.0.0.0/8" or "fd00::/8"; "unix" stands for unix sockets'
    return f'did you mean "{wider}"? The address has bits set beyond its prefix'


def split_address(text: str) -> tuple[str, str]:
    """(kind, rest) of a listen address: ("unix", path), ("fd", number), ("systemd", name) or
    ("tcp", host).

    Raises:
        ValueError: none of these; says what was expected.
    """
    if text.startswith("unix:"):
        if len(text) == 5:
            raise ValueError("the path of the unix socket is missing")
        return "unix", text[5:]
    if text.startswith("fd:"):
        if not text[3:].isdecimal():
            raise ValueError('expected the number of an inherited socket, like "fd:3"')
        return "fd", text[3:]
    if text == "systemd" or text.startswith("systemd:"):
        name = text.removeprefix("systemd").removeprefix(":")
        if not name and text.endswith(":"):
            raise ValueError("the name of the socket (FileDescriptorName=) is missing")
        return "systemd", name
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError('expected "host:port", ":port", "unix:/path", "systemd" or "fd:3"')
    if not (port.isascii() and port.isdecimal() and int(port) <= 0xFFFF):
        raise ValueError("the port must be a number from 0 to 65535")
    _check_host(host)
    return "tcp", host


def _check_host(host: str) -> None:
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1].partition("%")[0])
        except ValueError:
            raise ValueError(f"{host} is not an IPv6 address in brackets") from None
    elif ":" in host:
        raise ValueError('an IPv6 address stands in brackets, like "[::1]:8080"')
    elif host and not _HOST_NAME.fullmatch(host):
        raise ValueError(f'"{host}" is not a host name or an address')


def _listen(value: str) -> str:
    try:
        split_address(value)
    except ValueError as error:
        hint = f'did you mean ":{value}"?' if value.isdecimal() else str(error)
        raise invalid(f'"{value}" is not an address to listen on', help_text=hint) from None
    return value


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise invalid(f'"{value}" is not the name of a header')
    return value.lower()


def _header_or_none(value: str) -> str:
    return _header_name(value) if value else ""


def _tenant_key(value: str) -> str:
    return value if value == "@client" else _header_or_none(value)


def _path_pattern(value: str) -> str:
    if not value.startswith("/") and value not in {"*", "**"}:
        raise invalid(f'path "{value}" does not begin with a slash', help_text=f'"/{value}"')
    if "?" in value or "#" in value:
        raise invalid(
            f'path "{value}" holds a query',
            note="rules see the path only",
            help_text="drop it, or tell such requests apart by a header",
        )
    return value


def _worker_count(value: Any) -> Any:
    return min(WORKERS_MAX, len(os.sched_getaffinity(0))) if value == "auto" else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Duration = Annotated[
    Nanos,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": r"^(0|(\d+(\.\d+)?(ns|us|ms|s|m|h|d))+)$"}),
]
"""Nanoseconds, written with a unit: "250ms", "1m30s"."""

Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)? ?([kKmMgG]i?)?[bB]?$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
"""Bytes, written with a unit: "16KiB"; a bare number counts bytes."""

Network = Annotated[str, AfterValidator(_network)]
"""CIDR, or "unix"."""

ListenAddress = Annotated[str, AfterValidator(_listen)]
""""host:port", ":port", "unix:/path", "systemd", "systemd:NAME" or "fd:N"."""

HeaderName = Annotated[str, AfterValidator(_header_name)]
"""Name of a header field; kept in lower case."""

OptionalHeaderName = Annotated[str, AfterValidator(_header_or_none)]
"""Name of a header field, or "" for none."""

TenantKey = Annotated[str, AfterValidator(_tenant_key)]
"""Name of a header field, "@client" for the client's address, or "" for none."""

PathPattern = Annotated[str, AfterValidator(_path_pattern)]
"""Glob on the normalised path, see shedproxy.snapshot.rules."""

WORKERS_MAX = 64

WorkerCount = Annotated[
    int,
    Field(ge=1, le=WORKERS_MAX),
    BeforeValidator(
        _worker_count,
        json_schema_input_type=Annotated[int, Field(ge=1, le=WORKERS_MAX)] | Literal["auto"],
    ),
]
"""Processes; "auto" stands for the processors that this one may use, at most 64."""

TextList = BeforeValidator(_as_list, json_schema_input_type=str | list[str])
"""Lets one string stand for a list of one."""
