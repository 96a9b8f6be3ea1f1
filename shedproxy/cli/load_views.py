"""What a load came to, as text and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from shedproxy.calibration.load_test import LoadResult, keeps_slo
from shedproxy.calibration.measurement import ClassCount, Percentiles, Slo, Step
from shedproxy.calibration.orders import Order
from shedproxy.cli.load_plan import LoadPlan
from shedproxy.core import NS_PER_S, to_milliseconds, to_seconds
from shedproxy.snapshot import to_plain

__all__ = ["LoadProgress", "load_json", "load_text"]

_ROUTES_SHOWN = 10
_BAR = 24


class LoadProgress:
    """A bar with the time left, on a terminal; nothing elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()

    def watch(self, order: Order, share: float) -> None:
        """Called a few times a second while it is played."""
        if self._is_terminal:
            done = round(_BAR * share)
            left_s = (1 - share) * to_seconds(order.length_ns)
            bar = "#" * done + "." * (_BAR - done)
            self._stream.write(f"\r\x1b[K[{bar}] {order.planned_rps:.0f}/s, {left_s:.0f} s left")
            self._stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def load_json(target: str, plan: LoadPlan, result: LoadResult, slo: Slo) -> dict[str, Any]:
    """The object that `--json` prints. Lengths of time are ns, as in a calibration's report."""
    body: dict[str, Any] = {
        "format": "shedproxy-load",
        "schema": 1,
        "target": target,
        "load": plan.name,
        "slo": to_plain(slo),
        "faults": result.faults,
        "stopped": result.is_stopped,
        "notes": list(plan.notes),
    }
    if result.whole is not None:
        body["keeps_slo"] = keeps_slo(result.whole, slo)
        body["step"] = to_plain(result.whole)
    if result.levels:
        body["levels"] = [
            {"keeps_slo": keeps_slo(step, slo), "step": to_plain(step)} for step in result.levels
        ]
    if plan.search is not None:
        body["good_rps"], body["bad_rps"] = result.good_rps, result.bad_rps
    if plan.log is not None:
        body["log"] = {
            "lines": plan.log.line_count,
            "played": len(plan.schedule),
            "unreadable": plan.log.unreadable_count,
            "skipped": dict(plan.log.skipped),
            "span_s": round(plan.log.span_s, 3),
        }
    return body


def load_text(target: str, plan: LoadPlan, result: LoadResult, slo: Slo) -> str:
    """The same for people."""
    lines = [f"{plan.name} at {target}"]
    if plan.log is not None:
        lines.append(_log_line(plan))
    lines += plan.notes
    if result.whole is not None:
        lines += _whole(result.whole, slo)
    if result.levels:
        lines += _levels(result.levels, slo)
    if plan.search is not None:
        lines.append(_found(result, slo))
    if result.is_stopped:
        lines.append("stopped before its time; this is of what was sent until then")
    lines += [f"void: {fault}" for fault in dict.fromkeys(result.faults)]
    return "\n".join(lines)


def _log_line(plan: LoadPlan) -> str:
    log = plan.log
    assert log is not None
    text = f"{len(plan.schedule)} of {log.line_count} lines of {log.span_s:.0f} s are played"
    if log.unreadable_count:
        text += f"; {log.unreadable_count} are no requests that can be read"
    if log.skipped:
        kinds = ", ".join(f"{count} {method}" for method, count in log.skipped.most_common())
        text += f"; not safe and not allowed: {kinds}"
    return text


def _whole(step: Step, slo: Slo) -> Iterator[str]:
    yield (
        f"offered {step.offered_rps:.1f}/s, answered {step.throughput_rps:.1f}/s, good "
        f"{step.goodput_rps:.1f}/s (success within {to_milliseconds(slo.latency_ns):g} ms)"
    )
    yield f"latency from when it was due: {_latency(step.latency)}"
    errors = ", ".join(f"{error.count} {error.name}" for error in step.errors)
    yield (
        f"{step.offered_count} requests: {step.served_count} served, {step.refused_count} refused, "
        f"{step.failed_count} failed{f' ({errors})' if errors else ''}"
    )
    yield f"objective {slo.text}: {'kept' if keeps_slo(step, slo) else 'missed'}"
    yield from _parts("class", step.classes)
    if len(step.routes) > 1:
        most = sorted(step.routes, key=lambda route: -route.offered_count)
        yield from _parts("route", most[:_ROUTES_SHOWN])
        if len(most) > _ROUTES_SHOWN:
            yield f"  and {len(most) - _ROUTES_SHOWN} routes more (--json has them)"
    health = step.health
    yield (
        f"generator: sent {to_milliseconds(health.send_lag_p99_ns):.2f} ms late at p99, "
        f"{health.cpu_ratio:.0%} of a processor, {health.achieved_ratio:.1%} of the plan, "
        f"{health.not_sent_count} not sent"
    )


def _latency(latency: Percentiles | None) -> str:
    if latency is None:
        return "nothing was served"
    named = (
        ("p50", latency.p50_ns), ("p90", latency.p90_ns), ("p99", latency.p99_ns),
        ("p99.9", latency.p999_ns), ("max", latency.max_ns),
    )  # fmt: skip
    return ", ".join(f"{name} {to_milliseconds(value):.1f} ms" for name, value in named)


def _parts(what: str, parts: Sequence[ClassCount]) -> Iterator[str]:
    yield f"{what:<34} {'offered':>9} {'served':>9} {'refused':>9} {'p50 ms':>9} {'p99 ms':>9}"
    for part in parts:
        p50, p99 = (
            "-" if value is None else f"{to_milliseconds(value):.1f}"
            for value in (part.p50_ns, part.p99_ns)
        )
        yield (
            f"  {part.name[:32]:<32} {part.offered_count:>9} {part.served_count:>9} "
            f"{part.refused_count:>9} {p50:>9} {p99:>9}"
        )


def _levels(levels: Sequence[Step], slo: Slo) -> Iterator[str]:
    heads = ("planned/s", "offered/s", "good/s", "p50 ms", "p99 ms")
    yield " ".join(f"{head:>10}" for head in heads) + "  objective"
    for step in levels:
        p50, p99 = ("-", "-") if step.latency is None else (
            f"{to_milliseconds(step.latency.p50_ns):.1f}",
            f"{to_milliseconds(step.latency.p99_ns):.1f}",
        )  # fmt: skip
        yield (
            f"{step.planned_rps or 0:>10.1f} {step.offered_rps:>10.1f} {step.goodput_rps:>10.1f} "
            f"{p50:>10} {p99:>10}  {'kept' if keeps_slo(step, slo) else 'missed'}"
        )


def _found(result: LoadResult, slo: Slo) -> str:
    length_s = sum(step.length_ns for step in result.levels) / NS_PER_S
    if result.faults or result.is_stopped:
        return "the search came to no end" + _known(result)
    if result.good_rps is None:
        return f"not even the first rate kept {slo.text}"
    if result.bad_rps is None:
        return f"{slo.text} was kept up to {result.good_rps:.0f}/s, which was the most tried"
    return (
        f"{slo.text} was kept at {result.good_rps:.0f}/s and not at {result.bad_rps:.0f}/s, in "
        f"{length_s:.0f} s; `shedproxy calibrate` gives it an interval"
    )


def _known(result: LoadResult) -> str:
    known = ((result.good_rps, "kept"), (result.bad_rps, "missed"))
    parts = [f"{word} at {rate_rps:.0f}/s" for rate_rps, word in known if rate_rps is not None]
    return f"; until then the objective was {' and '.join(parts)}" if parts else ""
