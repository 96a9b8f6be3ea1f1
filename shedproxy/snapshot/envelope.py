r"""A snapshot as bytes: a manifest, signatures over it, the parts that it names, and zeros.

    {"format":"shedproxy-snapshot","schema":1,"revision":7,...,"size":N,"parts":[...]}\n
    {"signatures":[{"key":"<key id>","ed25519":"<base64>"}]}\n
    <bytes of each part, in the order of the manifest> <zeros up to N bytes>

The manifest holds SHA-256 and length of every part, so that a signature over its line (as it is,
no other form of it counts) covers everything, and its own SHA-256 is the digest of the snapshot.
Of the parts, `document` is a `Document` in JSON and `cells` a table of cells; those of other names
are kept. N is one of few sizes: however much of the contents changes, the work of fetching and
checking is the same.

Reading goes in steps, and nobody's word is taken before it is checked: `open_envelope` looks at
the first two lines only, the caller verifies the signatures, `read_snapshot` does the rest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot.bounded_json import load_json
from shedproxy.snapshot.codec import DOCUMENT_SIZE_MAX, decode_body
from shedproxy.snapshot.refusal import SnapshotRefusal, SnapshotRefusedError
from shedproxy.snapshot.snapshot import SNAPSHOT_SCHEMA, Snapshot

__all__ = [
    "REVISION_MAX",
    "SIZE_CLASSES",
    "Envelope",
    "Sign",
    "encode_snapshot",
    "open_envelope",
    "read_snapshot",
]

SIZE_CLASSES = (256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20)
"""Bytes that a snapshot can have."""
REVISION_MAX = (1 << 53) - 1

_FORMAT = "shedproxy-snapshot"
_MAGIC = b'{"format":"shedproxy-snapshot"'
_MANIFEST_MAX = 64 * 1024
_SIGNATURES_MAX = 8
_PARTS_MAX = 16
_CONTEXT = b"shedproxy snapshot\0"
"""What is signed begins with it, so that a signature is good for nothing else."""
_KNOWN = frozenset(
    ("format", "schema", "revision", "issued_at_s", "expires_at_s", "force", "size", "parts")
)

Sign = Callable[[bytes], tuple[str, bytes]]
"""Takes what is to be signed; gives the id of the key, and the signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The first two lines of a snapshot, and the bytes behind them. Believe nothing of it yet."""

    manifest: Mapping[str, Any]
    signatures: tuple[tuple[str, bytes], ...]
    """(id of the key, signature)."""
    digest: str
    """`sha256:` and 64 hex digits, of the manifest's line: what people compare."""
    signed: bytes
    """What the signatures are over."""
    size: int
    body: memoryview
    """Everything behind the two lines."""


def encode_snapshot(snapshot: Snapshot, sign: Sequence[Sign] = (), *, size: int = 0) -> bytes:
    """The snapshot as bytes.

    Args:
        snapshot: to be written.
        sign: signs it, each with its key; nobody takes one that nobody signed.
        size: bytes in all, of `SIZE_CLASSES`; 0: the smallest that it fits.

    Raises:
        SnapshotRefusedError: it does not fit, or its numbers are beyond their bounds.
        ValueError: there is no such size.
    """
    if size and size not in SIZE_CLASSES:
        raise ValueError(f"{size} is not one of the sizes {', '.join(map(str, SIZE_CLASSES))}")
    if not 1 <= snapshot.revision <= REVISION_MAX:
        raise _invalid(f"revision {snapshot.revision} is not in 1..{REVISION_MAX}", "revision")
    document = json.dumps(snapshot.plain_document, separators=(",", ":")).encode()
    if len(document) > DOCUMENT_SIZE_MAX:
        raise _too_large(f"its document has {len(document)} bytes: {DOCUMENT_SIZE_MAX} at most")
    parts = [("document", document), *snapshot.others]
    if snapshot.table:
        parts.insert(1, ("cells", snapshot.table))
    manifest = {
        "format": _FORMAT,
        "schema": max(SNAPSHOT_SCHEMA, snapshot.schema),
        "revision": snapshot.revision,
        "issued_at_s": snapshot.issued_at_s,
        "expires_at_s": snapshot.expires_at_s,
        "force": snapshot.is_forced,
        "size": 0,
        "parts": [
            {"name": name, "size": len(part), "sha256": hashlib.sha256(part).hexdigest()}
            for name, part in parts
        ],
        **snapshot.extra,
    }
    content = b"".join(part for _, part in parts)
    for fitting in (size,) if size else SIZE_CLASSES:
        head = _head({**manifest, "size": fitting}, sign)
        if len(head) + len(content) <= fitting:
            return (head + content).ljust(fitting, b"\0")
    needed = len(head) + len(content)
    raise _too_large(f"it takes {needed} bytes: {size or SIZE_CLASSES[-1]} at most")


def _head(manifest: Mapping[str, Any], sign: Sequence[Sign]) -> bytes:
    line = json.dumps(manifest, separators=(",", ":")).encode()
    signatures = [
        {"key": key, "ed25519": base64.b64encode(signature).decode()}
        for key, signature in (each(_CONTEXT + line) for each in sign)
    ]
    return b"%s\n%s\n" % (line, json.dumps({"signatures": signatures}).encode())


def open_envelope(data: bytes | memoryview, *, size_max: int = SIZE_CLASSES[-1]) -> Envelope:
    """Look at the first two lines, and whether it is as long as it says.

    Raises:
        SnapshotRefusedError: too large, cut off, not a snapshot, or of a schema much newer.
    """
    if len(data) > size_max:
        raise _too_large(f"more than the {size_max} bytes that are allowed")
    top = bytes(data[: 2 * _MANIFEST_MAX])
    line, end, rest = top.partition(b"\n")
    second, second_end, _ = rest.partition(b"\n")
    if not line.startswith(_MAGIC[: len(line)]):
        raise _invalid("not a snapshot of shedproxy")
    if len(line) > _MANIFEST_MAX or len(second) > _MANIFEST_MAX:
        raise _invalid("its head is longer than any can be")
    if not end or not second_end:
        raise _truncated(f"it ends in its head, after {len(data)} bytes")
    manifest = _object(line, "manifest")
    if manifest.get("format") != _FORMAT:
        raise _invalid("not a snapshot of shedproxy")
    schema = _number(manifest, "schema", 0, REVISION_MAX)
    if schema > SNAPSHOT_SCHEMA + 1:
        raise SnapshotRefusedError.of(
            SnapshotRefusal.NEWER_SCHEMA,
            f"schema {schema} is newer than this version understands ({SNAPSHOT_SCHEMA + 1})",
            path=("schema",),
            help_text="upgrade shedproxy on this host first",
        )
    size = _number(manifest, "size", 1, REVISION_MAX)
    if size > size_max:
        raise _too_large(f"{size} bytes: {size_max} are allowed")
    if len(data) < size:
        raise _truncated(f"{len(data)} bytes of {size} are there")
    if len(data) > size:
        raise _invalid(f"{len(data) - size} bytes follow its end")
    return Envelope(
        manifest=manifest,
        signatures=_signatures(second),
        digest=f"sha256:{hashlib.sha256(line).hexdigest()}",
        signed=_CONTEXT + line,
        size=size,
        body=memoryview(data)[len(line) + len(second) + 2 :],
    )


def read_snapshot(envelope: Envelope) -> Snapshot:
    """What the envelope holds, after its signatures were verified.

    Raises:
        SnapshotRefusedError: something in it is not as the manifest says, or cannot be run.
    """
    manifest = envelope.manifest
    revision = _number(manifest, "revision", 1, REVISION_MAX)
    dates = {"issued_at_s": 0, "expires_at_s": 0, **manifest}
    force = manifest.get("force", False)
    if not isinstance(force, bool):
        raise _invalid("expected true or false", "force")
    parts = _parts(envelope)
    document = parts.pop("document", None)
    if document is None:
        raise SnapshotRefusedError.of(SnapshotRefusal.EMPTY, "it has no document", path=("parts",))
    try:
        body = load_json(document)
        decoded = decode_body(body, newer=1)
    except DocumentInvalidError as error:
        problems = [_below(problem, "document") for problem in error.problems]
        raise SnapshotRefusedError(_refusal_of(document), problems) from error
    return Snapshot(
        revision=revision,
        document=decoded,
        table=parts.pop("cells", b""),
        issued_at_s=_number(dates, "issued_at_s", 0, REVISION_MAX),
        expires_at_s=_number(dates, "expires_at_s", 0, REVISION_MAX),
        is_forced=force,
        schema=_number(manifest, "schema", 0, REVISION_MAX),
        body=body,
        extra={name: value for name, value in manifest.items() if name not in _KNOWN},
        others=tuple(parts.items()),
    )


def _refusal_of(document: bytes) -> SnapshotRefusal:
    return SnapshotRefusal.INVALID if document.strip() else SnapshotRefusal.EMPTY


def _parts(envelope: Envelope) -> dict[str, bytes]:
    """Every part, compared with the manifest; and nothing but zeros behind them."""
    listed = envelope.manifest.get("parts")
    if not isinstance(listed, list) or len(listed) > _PARTS_MAX:
        raise _invalid(f"expected a list of at most {_PARTS_MAX} parts", "parts")
    parts: dict[str, bytes] = {}
    at = 0
    for index, entry in enumerate(listed):
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name in parts:
            raise _invalid("expected a part with a name of its own", "parts", str(index))
        size = _number(entry, "size", 0, envelope.size, ("parts", name))
        part = bytes(envelope.body[at : at + size])
        if len(part) < size:
            raise _invalid(f"part {name} reaches beyond the end", "parts", name)
        if hashlib.sha256(part).hexdigest() != entry.get("sha256"):
            raise _invalid(f"part {name} is damaged: its digest does not fit", "parts", name)
        parts[name] = part
        at += size
    rest = bytes(envelope.body[at:])
    if rest.count(0) != len(rest):
        raise _invalid("something follows its last part")
    return parts


def _signatures(line: bytes) -> tuple[tuple[str, bytes], ...]:
    listed = _object(line, "line of signatures").get("signatures")
    if not isinstance(listed, list) or len(listed) > _SIGNATURES_MAX:
        raise _invalid(f"expected at most {_SIGNATURES_MAX} signatures", "signatures")
    found = []
    for entry in listed:
        key = entry.get("key") if isinstance(entry, dict) else None
        text = entry.get("ed25519") if isinstance(entry, dict) else None
        if isinstance(key, str) and isinstance(text, str):  # others are of a kind not known here
            try:
                found.append((key, base64.b64decode(text, validate=True)))
            except (binascii.Error, ValueError) as error:
                raise _invalid("a signature is not in base64", "signatures") from error
    return tuple(found)


def _object(line: bytes, what: str) -> dict[str, Any]:
    try:
        value = load_json(line, what=what)
    except DocumentInvalidError as error:
        raise SnapshotRefusedError(SnapshotRefusal.INVALID, error.problems) from error
    if not isinstance(value, dict):
        raise _invalid(f"its {what} is no object")
    return value


def _number(
    holder: Mapping[str, Any], name: str, least: int, most: int, path: tuple[str, ...] = ()
) -> int:
    """An integer of the manifest."""
    value = holder.get(name)
    if type(value) is not int or not least <= value <= most:
        raise _invalid(f"expected an integer in {least}..{most}", *path, name)
    return value


def _below(problem: Problem, part: str) -> Problem:
    return Problem(message=problem.message, path=(part, *problem.path), help=problem.help)


def _invalid(message: str, *path: str) -> SnapshotRefusedError:
    text = f"{'.'.join(path)}: {message}" if path else message
    return SnapshotRefusedError.of(SnapshotRefusal.INVALID, text, path=path)


def _truncated(message: str) -> SnapshotRefusedError:
    return SnapshotRefusedError.of(
        SnapshotRefusal.TRUNCATED, message, help_text="it is fetched again in the next period"
    )


def _too_large(message: str) -> SnapshotRefusedError:
    return SnapshotRefusedError.of(
        SnapshotRefusal.TOO_LARGE,
        message,
        help_text="choose a larger size, and allow it: snapshot.size_max",
    )
