"""What tests of admission say in a word: a policy, a time, an arrival, a reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shedproxy.core import (
    CellPolicy,
    Decision,
    Instant,
    LimitPolicy,
    Mode,
    Policy,
    Rejected,
    RejectReason,
    RequestInfo,
    Shedder,
    milliseconds,
    refusal_holds,
)


@pytest.fixture
def fixed() -> Callable[..., Policy]:
    """One cell with a fixed limit."""

    def make(limit: int, mode: Mode = Mode.ENFORCE, **cell: object) -> Policy:
        policy = LimitPolicy(algorithm="fixed", initial=limit, maximum=1000)
        return Policy(mode=mode, cells=(CellPolicy(limit=policy, **cell),))

    return make


@pytest.fixture
def at() -> Callable[[float], Instant]:
    """An instant, in milliseconds."""
    return lambda ms: Instant(milliseconds(ms))


@pytest.fixture
def arrive() -> Callable[..., Decision]:
    """A request arrives at a shedder at a time in milliseconds."""

    def make(
        shedder: Shedder,
        ms: float = 0,
        *,
        time_left_ns: int | None = None,
        flow_hash: int = 0,
        **request: object,
    ) -> Decision:
        return shedder.arrive(
            RequestInfo(**request),
            now=Instant(milliseconds(ms)),
            flow_hash=flow_hash,
            cohort=5,
            time_left_ns=time_left_ns,
        )

    return make


@pytest.fixture
def reason() -> Callable[[object], RejectReason]:
    """The reason of a refusal whose numbers prove it."""

    def of(decision: object) -> RejectReason:
        assert isinstance(decision, Rejected)
        assert refusal_holds(decision)
        return decision.reason

    return of
