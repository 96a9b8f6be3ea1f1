"""`shedproxy replay`: a recorded trace once more, by its own policy or by another one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shedproxy.cli.exit_codes import EXIT_FAILED
from shedproxy.cli.output import end_failed, print_problems
from shedproxy.errors import StartupError

if TYPE_CHECKING:
    from shedproxy.core import Policy
    from shedproxy.simulator.replay import Verification
    from shedproxy.workload.trace import TraceHeader, TraceReader

__all__ = ["replay"]


_LINE_MAX = 8 * 1024 * 1024
"""Characters; no record is as long."""


def replay(
    trace: Annotated[Path, typer.Argument(metavar="TRACE", help="What `--record` wrote.")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Settings to replay by, as for `run`."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="OUT", help="Write the replay, a trace itself, there."),
    ] = None,
) -> None:
    """Run a recorded trace through a policy.

    By its own policy every answer must be the recorded one, byte for byte: exit code 0, or 1 and
    the first difference. By another one: who would have been refused, and who would have waited.

    Examples:
        shedproxy replay traffic.jsonl
        shedproxy replay traffic.jsonl --policy stricter.toml
        shedproxy replay traffic.jsonl --policy stricter.toml --json | jq .changed
    """
    from shedproxy.workload.trace import TraceReader

    if write is not None and write.exists() and trace.exists() and write.samefile(trace):
        raise typer.BadParameter("it would replace the trace itself", param_hint="--write")
    written: list[str] = []
    sink = None if write is None else written.append
    reader = TraceReader(_lines(trace), source=str(trace))
    if policy is None:
        is_good = _verify(reader, as_json=as_json, sink=sink)
        header = reader.header
    else:
        header = _compare(reader, policy, as_json=as_json, sink=sink)
        is_good = True
    if write is not None and is_good:
        _write(write, header, written)
    if not is_good:
        raise typer.Exit(EXIT_FAILED)


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
            while line := stream.readline(_LINE_MAX):
                yield line
    except OSError as error:
        raise StartupError(f"cannot read {file}: {error.strerror}") from error


def _write(file: Path, header: TraceHeader, lines: list[str]) -> None:
    from shedproxy.workload.trace import encode_header

    try:
        with file.open("w", encoding="ascii", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in (encode_header(header), *lines))
    except OSError as error:
        end_failed(f"cannot write {file}: {error.strerror}")


def _verify(reader: TraceReader, *, as_json: bool, sink: Callable[[str], None] | None) -> bool:
    from shedproxy.simulator.replay import verify

    verification = verify(reader, write=sink)
    if as_json:
        typer.echo(json.dumps(_verification(verification), indent=2))
    else:
        typer.echo(_verdict(verification, reader.header))
    return verification.difference is None


def _verification(verification: Verification) -> dict[str, Any]:
    difference = verification.difference
    return {
        "identical": difference is None,
        "calls": verification.calls,
        "arrivals": verification.arrivals,
        "span_ns": verification.span_ns,
        "ended": verification.why,
        "difference": None
        if difference is None
        else {
            "line": difference.call.line,
            "recorded": json.loads(difference.call.text),
            "replayed": json.loads(difference.replayed),
        },
    }


def _verdict(verification: Verification, header: TraceHeader) -> str:
    from shedproxy import __version__
    from shedproxy.core import to_seconds

    difference = verification.difference
    if difference is None:
        return (
            f"identical: every answer to {verification.calls} calls"
            f" ({verification.arrivals} arrivals, {to_seconds(verification.span_ns):.3f} s)"
            f"\n  recorded by shedproxy {header.version}; it ended: {verification.why}"
        )
    call = difference.call
    after_s = to_seconds(call.at - header.started_at)
    lines = [
        f"different: line {call.line}, {after_s:.6f} s after the start",
        f"  recorded  {call.text}",
        f"  replayed  {difference.replayed}",
    ]
    if header.version != __version__:
        lines.append(f"  recorded by shedproxy {header.version}; this is {__version__}")
    return "\n".join(lines)


def _compare(
    reader: TraceReader, file: Path, *, as_json: bool, sink: Callable[[str], None] | None
) -> TraceHeader:
    """Replay by the policy of a settings file; the header that the replay has as a trace."""
    from shedproxy.cli.replay_views import comparison_as_json, comparison_as_text
    from shedproxy.settings import load_settings
    from shedproxy.simulator.history import History
    from shedproxy.simulator.what_if import what_if

    loaded = load_settings(file, environ=os.environ)
    print_problems(loaded.warnings)
    policy = _part(loaded.document.policy, reader.header)
    history = History(reader)
    comparison = what_if(history, policy, write=sink)
    show = comparison_as_json if as_json else comparison_as_text
    typer.echo(show(history, policy, comparison, rules=len(loaded.settings.rule)))
    return replace(history.header, policy=policy)


def _part(policy: Policy, header: TraceHeader) -> Policy:
    """What the worker that was recorded would get of it."""
    from shedproxy.snapshot import Document, document_for_worker

    return document_for_worker(Document(policy=policy), header.worker, header.workers).policy
