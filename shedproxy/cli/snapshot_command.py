"""`shedproxy snapshot`: make keys, sign, verify, show and compare snapshots. Needs no instance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from shedproxy.cli.exit_codes import EXIT_CONFIG, EXIT_FAILED
from shedproxy.cli.output import end_failed, end_unread, print_problems
from shedproxy.clock import wall_seconds
from shedproxy.errors import DocumentInvalidError, StartupError

if TYPE_CHECKING:
    from shedproxy.snapshot import Envelope, Snapshot

__all__ = ["snapshot"]

_T = TypeVar("_T")


snapshot = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

SnapshotFile = Annotated[Path, typer.Argument(metavar="SNAPSHOT", help="A snapshot.")]
Keys = Annotated[
    list[Path] | None, typer.Option("--key", metavar="FILE", help="A public key to believe.")
]


@snapshot.callback()
def _snapshot() -> None:
    """Make keys, and sign, verify, show and compare snapshots."""


@snapshot.command(
    help="""Make a key pair: NAME.key signs, NAME.pub goes on every instance.

    \b
    Examples:
        shedproxy snapshot keygen fleet
    """
)
def keygen(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Files are called after it.")],
) -> None:
    """Make a key pair."""
    from shedproxy.store import write_key_pair

    private, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    try:
        key_id = _or_end(lambda: write_key_pair(private, public))
    except OSError as error:
        end_failed(f"cannot write {error.filename}: {error.strerror}")
    typer.echo(f"key {key_id}")
    typer.echo(f"  {private}   signs; keep it where snapshots are published")
    typer.echo(f"  {public}   is believed; put it on every instance (snapshot.keys)")


@snapshot.command(
    help="""Sign a snapshot of a settings file, or one that exists once more.

    A new snapshot has the policy of the settings: mode, rules, cells, classes, headers, refusals,
    upstreams and profiles. With --key twice both keys sign, so that one can replace the other.

    \b
    Examples:
        shedproxy snapshot sign edge.toml --key fleet.key --revision 7 --out edge.snapshot
        shedproxy snapshot sign old.snapshot --key new.key --revision 8 --out edge.snapshot
    """
)
def sign(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Settings, or a snapshot.")],
    key: Annotated[list[Path], typer.Option("--key", metavar="FILE", help="A private key.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
    revision: Annotated[int, typer.Option("--revision", min=1, help="Higher than all before it.")],
    size: Annotated[
        str,
        typer.Option("--size", metavar="SIZE", help="256KiB, 1MiB, 4MiB, 16MiB or 64MiB in all."),
    ] = "",
    expires_in: Annotated[
        str, typer.Option("--expires-in", metavar="TIME", help="Then it is stale; it serves on.")
    ] = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Put it in force even if it would refuse much of the traffic."
        ),
    ] = False,
) -> None:
    """Sign a snapshot."""
    from dataclasses import replace

    from shedproxy.core import seconds
    from shedproxy.settings import parse_duration, parse_size
    from shedproxy.snapshot import encode_snapshot, says_nothing
    from shedproxy.store import SigningKey, replace_file

    now_s = int(wall_seconds())
    try:
        size_bytes = parse_size(size) if size else 0
        lasts_s = parse_duration(expires_in) // seconds(1) if expires_in else 0
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    signers = _or_end(lambda: [SigningKey(file) for file in key])
    made = replace(
        _or_end(lambda: _snapshot_of(source)),
        revision=revision,
        issued_at_s=now_s,
        expires_at_s=now_s + lasts_s if lasts_s else 0,
        is_forced=force,
    )
    if says_nothing(made.document) and not made.table:
        end_unread(f"{source} says nothing: every host would refuse it as empty")
    try:
        data = _or_end(
            lambda: encode_snapshot(made, [each.sign for each in signers], size=size_bytes)
        )
        replace_file(out, data)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--size") from None
    except OSError as error:
        end_failed(f"cannot write {out}: {error.strerror}")
    ids = ", ".join(each.id for each in signers)
    typer.echo(f"wrote {out}: revision {revision}, {len(data)} bytes, signed by {ids}")


@snapshot.command(
    help="""Check a snapshot as an instance would: form, signature, and whether it can be run.

    Exit code 0: good, 3: an instance would refuse it.

    \b
    Examples:
        shedproxy snapshot verify edge.snapshot --key fleet.pub
    """
)
def verify(file: SnapshotFile, key: Keys = None) -> None:
    """Check a snapshot."""
    from shedproxy.snapshot import SnapshotRefusedError
    from shedproxy.store import KeyRing
    from shedproxy.supervisor.snapshot_judge import SnapshotJudge

    if not key:
        raise typer.BadParameter("give the public keys to believe", param_hint="--key")
    ring = _or_end(lambda: KeyRing(key))
    from shedproxy.snapshot import SIZE_CLASSES, Document

    judge = SnapshotJudge(
        ring, size_max=SIZE_CLASSES[-1], shed_max=1.0, local=Document, needs_upstream=False
    )
    try:
        found = judge.judge(_read(file))
    except SnapshotRefusedError as error:
        print_problems(error.problems)
        typer.echo(f"{file}: refused: {error.refusal.label}", err=True)
        raise typer.Exit(EXIT_CONFIG) from None
    typer.echo(f"{file}: good: revision {found.revision}, signed by {found.key}")
    typer.echo(found.digest)


@snapshot.command(
    help="""Print what a snapshot says. Nothing is verified.

    \b
    Examples:
        shedproxy snapshot show edge.snapshot
        shedproxy snapshot show edge.snapshot --json | jq .document.policy
    """
)
def show(
    file: SnapshotFile,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all of it as one JSON object.")
    ] = False,
) -> None:
    """Print what a snapshot says."""
    envelope, found = _open(file)
    facts: dict[str, Any] = {
        "revision": found.revision,
        "digest": envelope.digest,
        "schema": found.schema,
        "size": envelope.size,
        "issued_at_s": found.issued_at_s,
        "expires_at_s": found.expires_at_s,
        "force": found.is_forced,
        "keys": [key for key, _ in envelope.signatures],
        "mode": found.document.policy.mode.label,
        "cells": [cell.name for cell in found.document.policy.cells],
        "rules": len(found.document.classification.rules),
        "upstreams": [url for each in found.document.proxy.upstreams for url in each.urls],
        "table_bytes": len(found.table),
        "unknown": list(found.unknown),
    }
    if as_json:
        typer.echo(json.dumps({**facts, "document": found.plain_document}, indent=2))
        return
    for name, value in facts.items():
        text = ", ".join(map(str, value)) or "-" if isinstance(value, list) else value
        typer.echo(f"{name:<14} {text}")


@snapshot.command(
    help="""Print what is different in two snapshots. Exit code 0: nothing, 1: something.

    \b
    Examples:
        shedproxy snapshot diff old.snapshot new.snapshot
    """
)
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A snapshot.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another one.")],
) -> None:
    """Print what is different in two snapshots."""
    (_, before), (_, after) = _open(old), _open(new)
    lines = list(_differences(before.plain_document, after.plain_document, ""))
    lines += _table_differences(before.table, after.table)
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(EXIT_FAILED)


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """One line a value: `- policy.mode = "enforce"` and `+ policy.mode = "observe"`."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(name, ...), new.get(name, ...), f"{path}.{name}")
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            one = old[index] if index < len(old) else ...
            other = new[index] if index < len(new) else ...
            yield from _differences(one, other, f"{path}.{index}")
    else:
        for sign_, value in (("-", old), ("+", new)):
            if value is not ...:
                yield f"{sign_} {path.removeprefix('.')} = {json.dumps(value)}"


def _table_differences(old: bytes, new: bytes) -> list[str]:
    if old == new:
        return []
    from shedproxy.core import CellTable

    try:
        one, other = (CellTable(data) if data else None for data in (old, new))
    except ValueError:
        return ["~ table of cells"]
    if one is None or other is None:
        return ["- table of cells" if other is None else "+ table of cells"]
    buckets = sum(a != b for a, b in zip(one.buckets(), other.buckets(), strict=True))
    before, after = one.pins(), other.pins()
    pins = sum(before.get(key) != after.get(key) for key in before.keys() | after.keys())
    return [f"~ table of cells: {buckets} buckets, {pins} pinned keys"]


def _snapshot_of(file: Path) -> Snapshot:
    """A snapshot with the policy of a settings file, or as it was in a snapshot."""
    from shedproxy.settings import load_settings
    from shedproxy.snapshot import snapshot_of
    from shedproxy.supervisor.rehearsal import rehearse

    if _read(file, 30).startswith(b'{"format":"shedproxy-snapshot"'):
        return _open(file)[1]
    loaded = load_settings(file, environ=os.environ)
    rehearse(loaded.document)
    print_problems(loaded.warnings)
    return snapshot_of(loaded.document, revision=1)


def _open(file: Path) -> tuple[Envelope, Snapshot]:
    from shedproxy.snapshot import open_envelope, read_snapshot

    def read() -> tuple[Envelope, Snapshot]:
        envelope = open_envelope(_read(file))
        return envelope, read_snapshot(envelope)

    return _or_end(read)


def _read(file: Path, size: int = (64 << 20) + 1) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(size)
    except OSError as error:
        end_unread(f"cannot read {file}: {error.strerror}")


def _or_end(make: Callable[[], _T]) -> _T:
    """What `make` gives; the command ends with every problem, when it gives none."""
    try:
        return make()
    except DocumentInvalidError as error:
        print_problems(error.problems)
        raise typer.Exit(EXIT_CONFIG) from None
    except StartupError as error:
        end_unread(str(error))
