"""`shedproxy replay`: a recorded trace once more, by its own policy or by another one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from glob import escape
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
    traces: Annotated[list[Path], typer.Argument(metavar="TRACE", help="What `--record` wrote.")],
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
    Several workers wrote a trace each: name them all, and the counts are of all together.

    Examples:
        shedproxy replay traffic.jsonl
        shedproxy replay traffic.jsonl --policy stricter.toml
        shedproxy replay traffic.*.jsonl --policy stricter.toml
        shedproxy replay traffic.jsonl --policy stricter.toml --json | jq .changed
    """
    if write is not None and len(traces) > 1:
        raise typer.BadParameter("it is of one trace", param_hint="--write")
    if write is not None and write.exists() and traces[0].exists() and write.samefile(traces[0]):
        raise typer.BadParameter("it would replace the trace itself", param_hint="--write")
    written: list[str] = []
    sink = None if write is None else written.append
    if policy is None:
        is_good, header = _verify(traces, as_json=as_json, sink=sink)
    else:
        header = _compare(traces, policy, as_json=as_json, sink=sink)
        is_good = True
    if write is not None and is_good:
        _write(write, header, written)
    if not is_good:
        raise typer.Exit(EXIT_FAILED)


def _read(trace: Path) -> TraceReader:
    from shedproxy.workload.trace import TraceReader

    return TraceReader(_lines(trace), source=str(trace))


def _lines(file: Path) -> Iterator[str]:
    try:
        with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
            while line := stream.readline(_LINE_MAX):
                yield line
    except OSError as error:
        hint = _of_workers(file) if isinstance(error, FileNotFoundError) else ""
        raise StartupError(f"cannot read {file}: {error.strerror}{hint}") from error


def _of_workers(file: Path) -> str:
    """The files that several workers, or processes of the middleware, wrote instead."""
    found = sorted(str(other) for other in file.parent.glob(f"{escape(file.stem)}.*{file.suffix}"))
    return f"; there are, one of each worker: {' '.join(found)}" if found else ""


def _write(file: Path, header: TraceHeader, lines: list[str]) -> None:
    from shedproxy.workload.trace import encode_header

    try:
        with file.open("w", encoding="ascii", newline="\n") as stream:
            stream.writelines(f"{line}\n" for line in (encode_header(header), *lines))
    except OSError as error:
        end_failed(f"cannot write {file}: {error.strerror}")


def _verify(
    traces: Sequence[Path], *, as_json: bool, sink: Callable[[str], None] | None
) -> tuple[bool, TraceHeader]:
    """Whether each is identical by its own policy, and the header of the last."""
    from shedproxy.simulator.replay import verify

    is_alone = len(traces) == 1
    shown: list[dict[str, Any]] = []
    for trace in traces:
        reader = _read(trace)
        verification = verify(reader, write=sink)
        shown.append(_verification(verification))
        if not as_json:
            prefix = "" if is_alone else f"{trace}: "
            typer.echo(f"{prefix}{_verdict(verification, reader.header)}")
    are_identical = all(one["identical"] for one in shown)
    if as_json:
        files = [{"file": str(trace), **one} for trace, one in zip(traces, shown, strict=True)]
        content = shown[0] if is_alone else {"identical": are_identical, "traces": files}
        typer.echo(json.dumps(content, indent=2))
    return are_identical, reader.header


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
    traces: Sequence[Path], file: Path, *, as_json: bool, sink: Callable[[str], None] | None
) -> TraceHeader:
    """Replay by the policy of a settings file; the header that the last replay has as a trace."""
    from shedproxy.cli.replay_views import comparison_as_json, comparison_as_text
    from shedproxy.settings import load_settings
    from shedproxy.simulator.history import History
    from shedproxy.simulator.what_if import add_up, what_if

    loaded = load_settings(file, environ=os.environ)
    print_problems(loaded.warnings)
    facts, comparisons = [], []
    for trace in traces:
        # A history is large: of what is counted only the counts are kept.
        history = History(_read(trace))
        policy = _part(loaded.document.policy, history.header)
        facts.append(history.facts)
        comparisons.append(what_if(history, policy, write=sink))
    show = comparison_as_json if as_json else comparison_as_text
    typer.echo(show(facts, policy, add_up(comparisons), rules=len(loaded.settings.rule)))
    return replace(history.header, policy=policy)


def _part(policy: Policy, header: TraceHeader) -> Policy:
    """What the worker that was recorded would get of it."""
    from shedproxy.snapshot import Document, document_for_worker

    return document_for_worker(Document(policy=policy), header.worker, header.workers).policy
