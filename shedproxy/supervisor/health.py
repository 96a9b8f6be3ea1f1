"""What makes the service live and ready, as pure judgements over what was measured.

Liveness: a data loop that does not beat is wedged, and only a restart helps. Readiness: whether to
send traffic here. Overload is no reason to fail it (the others would get the load and fail next),
except when nothing at all was served for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shedproxy.core import Instant, Nanos, seconds, to_seconds

__all__ = ["Check", "Report", "ShedWindow", "WorkerBeat", "judge_liveness", "judge_readiness"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one question."""

    name: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True when no check failed."""
        return all(check.ok for check in self.checks)

    def text(self, *, verbose: bool) -> str:
        """`ok`, or the failures; every check when `verbose` (the form Kubernetes made known)."""
        if self.ok and not verbose:
            return "ok\n"
        shown = self.checks if verbose else [check for check in self.checks if not check.ok]
        lines = [f"[{'+' if check.ok else '-'}] {check.name}: {check.detail}" for check in shown]
        lines.append(f"{self.name} check {'passed' if self.ok else 'failed'}")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerBeat:
    """A worker as its health is judged."""

    index: int
    is_serving: bool
    """Ready or draining: it must beat. A starting or restarting one is not expected to."""
    state: str
    age_ns: Nanos
    """Since its data loop last beat."""


def judge_liveness(beats: Sequence[WorkerBeat], *, bound: Nanos) -> Report:
    """Fails when any data loop that should beat has not for longer than `bound`."""
    checks = []
    for beat in beats:
        if not beat.is_serving:
            checks.append(Check(f"worker {beat.index}", True, beat.state))
            continue
        ok = beat.age_ns <= bound
        detail = f"heartbeat {to_seconds(beat.age_ns):.1f} s ago"
        if not ok:
            detail += f", more than {to_seconds(bound):g} s: its loop is blocked"
        checks.append(Check(f"worker {beat.index}", ok, detail))
    return Report("livez", tuple(checks))


def judge_readiness(
    beats: Sequence[WorkerBeat],
    *,
    bound: Nanos,
    is_started: bool,
    is_draining: bool,
    upstreams: Mapping[str, bool],
    shed_everything: str,
    awaited: str = "",
) -> Report:
    """Fails while starting, draining, without a live worker, a healthy upstream or what is awaited.

    `upstreams` maps each upstream that was heard of to its health; an empty one says nothing
    (nobody tried yet, or there are none). `shed_everything` says why nothing was served for a
    while, "" when something was; `awaited` what is missing before it may serve, "" when nothing is.
    """
    live = sum(beat.is_serving and beat.age_ns <= bound for beat in beats)
    healthy = sum(upstreams.values())
    return Report(
        "readyz",
        (
            Check("started", is_started, "yes" if is_started else "starting"),
            Check("draining", not is_draining, "yes" if is_draining else "no"),
            Check("workers", live > 0, f"{live} of {len(beats)} live"),
            Check(
                "upstreams",
                healthy > 0 or not upstreams,
                f"{healthy} of {len(upstreams)} healthy" if upstreams else "none tried yet",
            ),
            Check("serving", not shed_everything, shed_everything or "yes"),
            Check("policy", not awaited, awaited or "yes"),
        ),
    )


class ShedWindow:
    """Whether everything was refused over the last while. Fed once a second, constant memory."""

    def __init__(self, *, length: Nanos | None = None, refusals_min: int = 20) -> None:
        self._length = length if length is not None else seconds(30)
        self._refusals_min = refusals_min
        self._points: deque[tuple[Instant, int, int]] = deque(maxlen=256)

    def feed(self, now: Instant, *, admitted: int, refused: int) -> None:
        """Totals since the start, as counted."""
        self._points.append((now, admitted, refused))
        while len(self._points) > 2 and self._points[1][0] <= now - self._length:
            self._points.popleft()

    def verdict(self) -> str:
        """Why the instance should get no traffic, or ""."""
        if not self._points or self._points[-1][0] - self._points[0][0] < self._length:
            return ""
        (_, admitted_then, refused_then), (_, admitted, refused) = (
            self._points[0],
            self._points[-1],
        )
        if admitted > admitted_then or refused - refused_then < self._refusals_min:
            return ""
        return (
            f"all {refused - refused_then} requests of the last"
            f" {to_seconds(self._length):g} s were refused"
        )
