"""What an instance says of itself upward, once in each period: all of it, in a fixed size."""

from __future__ import annotations

import json
from dataclasses import dataclass

from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot.bounded_json import load_json
from shedproxy.snapshot.codec import from_plain, to_plain

__all__ = [
    "STATUS_REPORT_SCHEMA",
    "STATUS_REPORT_SIZE",
    "StatusReport",
    "decode_report",
    "encode_report",
]

STATUS_REPORT_SIZE = 4096
"""Bytes of every report."""
STATUS_REPORT_SCHEMA = 2
"""Of what this version writes. Readers take one more and one less: a schema adds only fields that
the one before may leave alone. Reports that name none are of 0."""

_FORMAT = "shedproxy-status"
_TEXT_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """Counters count from the start of the process that `boot_id` names, so that whoever has two
    reports of one boot knows what was between them, whatever was lost.
    """

    instance: str
    boot_id: str
    """Another one after every start."""
    heartbeat: int
    """Number of the report; grows by one."""
    sent_at_s: float = 0.0
    """Seconds since the epoch, by the clock of the instance."""
    binary_digest: str = ""
    """Of the code that runs."""
    snapshot_digest: str = ""
    """Of the snapshot in force; "": none, it runs on its settings."""
    revision: int = 0
    """Of the snapshot in force."""
    highest_revision: int = 0
    """That was ever in force here."""
    refusal: str = ""
    """Why the last snapshot that came was refused; "": it was not."""
    refused_revision: int = 0
    """Its revision, as far as that could be read."""
    table_version: int = 0
    """Of the table of cells that all workers look keys up in and the disk has, so that a start
    finds no older one; 0: none."""
    moving: int = 0
    """Requests of keys in motion (those of a phase in that table) that may be at work, streams
    included."""
    moving_streams: int = 0
    held: int = 0
    """Requests of keys in motion that wait until the table says where they go."""
    is_settled: bool = False
    """Nothing may be at work any more that processes have left which are gone."""
    mode: str = ""
    """In force: of the snapshot, or of the break-glass."""
    is_stale: bool = False
    is_live: bool = True
    requests: int = 0
    """Data requests decided on."""
    errors: int = 0
    """Answered with 5xx, or failed, of those that were admitted."""
    sheds: int = 0
    """Refused, or in observe mode would have been."""
    limited: int | None = None
    """Answered 408, 411, 413, 414, 417 or 431: over a limit of sizes or times, most of them before
    anything was decided on. None: a version before schema 2 wrote it."""
    bounded: int | None = None
    """Of `sheds`, those for a bound that settings name (of a route, a class, connections), and not
    for want of capacity. None: as above."""
    client_errors: int | None = None
    """Answered with another 4xx than a refusal's, of those that were admitted. None: as above."""
    durations: tuple[int, ...] = ()
    """Requests admitted and finished, by duration: at most so many seconds as
    `observability.metric_table.DURATION_BOUNDS` says at that place, and last, longer."""
    p99_ms: float = 0.0
    """Of the last period, from the same counts; 0: nothing finished."""


def encode_report(report: StatusReport) -> bytes:
    """`STATUS_REPORT_SIZE` bytes: JSON, and blanks.

    Raises:
        ValueError: some text in it is longer than 256 characters.
    """
    plain = {"format": _FORMAT, "schema": STATUS_REPORT_SCHEMA, **to_plain(report)}
    if any(isinstance(value, str) and len(value) > _TEXT_MAX for value in plain.values()):
        raise ValueError(f"a text in a status report has at most {_TEXT_MAX} characters")
    data = json.dumps(plain, separators=(",", ":")).encode()
    if len(data) > STATUS_REPORT_SIZE:
        raise ValueError(f"a status report has at most {STATUS_REPORT_SIZE} bytes")
    return data.ljust(STATUS_REPORT_SIZE)


def decode_report(data: bytes) -> StatusReport:
    """What `encode_report` made, of this version or the next; what is new in it is left out.

    Raises:
        DocumentInvalidError: it is no such report.
    """
    plain = load_json(data, what="status report") if len(data) == STATUS_REPORT_SIZE else None
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
        raise DocumentInvalidError([Problem(message="not a status report of shedproxy")])
    schema = plain.get("schema", 0)
    if type(schema) is not int or not 0 <= schema <= STATUS_REPORT_SCHEMA + 1:
        message = f"schema {schema!r} is not one that this version understands"
        raise DocumentInvalidError([Problem(message=message, path=("schema",))])
    missing = {"instance", "boot_id", "heartbeat"} - set(plain)
    if missing:
        raise DocumentInvalidError([Problem(message=f"it has no {min(missing)}")])
    return from_plain(StatusReport, plain)
