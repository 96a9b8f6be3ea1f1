"""Keys lead to cells by the last table there was, and wait while it says so."""

from __future__ import annotations

from types import SimpleNamespace

from harness.worlds import make_call

from shedproxy.core import Instant, RequestInfo
from shedproxy.simulator.call import Call, CallState
from shedproxy.simulator.cells.plane import ControlPlane
from shedproxy.simulator.cells.router import Router

KEY = 0x0FED_CBA9_8765_4321


class Stand:
    """A plane, a router, and what the router passes on."""

    def __init__(self) -> None:
        self.plane = ControlPlane(("a", "b"), (1, 0))
        self.offered: list[tuple[int, str, bool]] = []
        self.held = 0
        self.router = Router(
            self.plane.table, frozenset("ab"), offer=self._take, on_held=self._count
        )

    def _take(self, call: Call) -> None:
        self.offered.append((call.serial, call.info.cell, call.info.is_pinned))

    def _count(self, more: int) -> None:
        self.held += more

    def offer(self, serial: int, *, cell: str = "default", key: int = KEY) -> Call:
        call = make_call(serial, cell=cell)
        call.flow_hash = key
        self.router.offer(call)
        return call

    def step(self) -> None:
        """A round: the report goes up, the table comes down."""
        self.plane.hear(self.router.report(self.plane.moving))
        self.router.take(self.plane.table, Instant(5))


def test_a_call_goes_where_it_says_or_where_its_key_leads():
    stand = Stand()
    stand.offer(1, cell="b")
    stand.offer(2)
    assert stand.offered == [(1, "b", False), (2, "a", False)]
    assert (stand.router.owner(KEY), stand.router.version) == ("a", 1)


def test_a_key_that_moves_is_served_then_held_then_served_elsewhere():
    stand = Stand()
    running = stand.offer(1)
    running.permit = SimpleNamespace(request=RequestInfo(cell="a"))
    running.state = CallState.RUNNING
    stand.plane.order(KEY, "b")
    stand.step()
    stand.offer(2)
    assert stand.offered[-1] == (2, "a", True), "marked: it stays where it is"
    stand.step()
    stand.offer(3)
    gone = stand.offer(4)
    stand.offer(5, key=7)
    assert stand.offered[-1] == (5, "a", False), "no other key waits"
    assert stand.held == 2
    stand.router.leave(gone)
    gone.state = CallState.LEFT
    assert stand.router.cells_at_work(KEY) == {"a"}
    for _ in range(3):
        stand.step()
    assert stand.held == 1, "what began in a is not over"
    running.permit, running.state = None, CallState.ANSWERED
    for call in stand.router._present:
        call.state = CallState.ANSWERED if call.serial == 2 else call.state
    stand.step()
    assert (stand.held, stand.offered[-1]) == (0, (3, "b", True))
    assert stand.router.owner(KEY) == "b"
    assert stand.router.pulled_at == 5


def test_what_is_over_is_forgotten_now_and_then():
    stand = Stand()
    for serial in range(3_000):
        stand.offer(serial).state = CallState.ANSWERED
    assert len(stand.router._present) <= 1_025
