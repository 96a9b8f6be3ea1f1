"""What load is aimed at and made of, as `calibrate` and `load` have it from their flags."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from shedproxy.cli.exit_codes import EXIT_UNSAFE
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.loadgen.requests import RequestSet, RequestSpec

__all__ = ["check_target", "generator_count", "is_loopback", "request_set"]

PROCESSES_MAX = 64


def is_loopback(host: str) -> bool:
    """Whether load for this host stays on this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        # A name, and 127.example.org is one too: who knows where it leads.
        return False


def check_target(target: str, allowed: Sequence[str]) -> None:
    """Refuse what is no target, or is not loopback and was not allowed by name.

    Raises:
        typer.BadParameter: it is none.
        typer.Exit: it might harm somebody.
    """
    try:
        parts = urlsplit(target)
        is_target = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_target = False
    if not is_target:
        raise typer.BadParameter(f"{target!r} is no target: try http://127.0.0.1:8000")
    if parts.path not in {"", "/"} or parts.query:
        raise typer.BadParameter(
            f"{target!r}: nothing would be sent to that path; name a host and a port only, and "
            "what to send with --request 'GET /path'"
        )
    host = parts.hostname or ""
    if is_loopback(host) or host in allowed:
        return
    print(
        f"error: {host} is not on loopback: load may harm whoever else depends on it.\n"
        f"  = help: if it is yours and may be loaded, say --allow-host {host}",
        file=sys.stderr,
    )
    raise typer.Exit(EXIT_UNSAFE)


def request_set(
    request: Sequence[str],
    requests: Path | None,
    openapi: Path | None,
    access_log: Path | None,
    mix: str,
) -> RequestSet:
    """What to send, from every source that was named; GET / where none was.

    Raises:
        typer.BadParameter: a flag says nothing that can be sent.
        StartupError: a file cannot be read, or understood.
    """
    from shedproxy.loadgen.openapi import requests_from_openapi
    from shedproxy.loadgen.requests import (
        RequestSet,
        RequestSetError,
        RequestSpec,
        parse_mix,
        parse_request,
        requests_from_log,
        requests_from_toml,
    )

    try:
        specs = [parse_request(text) for text in request]
        for file, read in (
            (requests, requests_from_toml),
            (openapi, requests_from_openapi),
            (access_log, requests_from_log),
        ):
            if file is not None:
                specs += _read(read, file)
        return RequestSet(specs or [RequestSpec()], parse_mix(mix))
    except RequestSetError as error:
        raise typer.BadParameter(str(error)) from None


def _read(read: Callable[[Path], list[RequestSpec]], file: Path) -> list[RequestSpec]:
    from shedproxy.loadgen.requests import RequestSetError

    try:
        return read(file)
    except RequestSetError as error:
        raise StartupError(str(error)) from None


def generator_count(text: str, target: str) -> int:
    """Of generator processes: as many as said. `auto`: every processor that may be used, but only
    half of them where the target is on this machine, because the rest is the service's.

    Raises:
        typer.BadParameter: neither a count nor `auto`.
    """
    if text == "auto":
        cores = len(os.sched_getaffinity(0))
        return max(
            1, min(PROCESSES_MAX, cores // (1 + is_loopback(urlsplit(target).hostname or "")))
        )
    if not text.isdecimal() or not 1 <= int(text) <= PROCESSES_MAX:
        raise typer.BadParameter(
            f"{text!r} is neither auto nor 1 to {PROCESSES_MAX}", param_hint="--processes"
        )
    return int(text)
