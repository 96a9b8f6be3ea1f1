"""The exchange as a state machine: any order of what peers may do, and nobody is left waiting.

The world and the oracle are those of the fuzzer (tests/fuzz), which looks for what must never
happen. Here clients and upstreams mostly mean well, so that something must happen too: whoever has
sent a whole request, and still reads, has its answer in the end.
"""

from __future__ import annotations

import os

from fuzz.conversation import CLIENTS, DOCUMENTS, Conversation
from fuzz.model import read_requests
from fuzz.verdict import judge, read_client
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shedproxy.core import milliseconds

HOST = b" HTTP/1.1\r\nHost: e\r\n"
REQUESTS = (
    b"GET /a" + HOST + b"\r\n",
    b"HEAD /b" + HOST + b"\r\n",
    b"DELETE /c" + HOST + b"Content-Length: 0\r\n\r\n",
    b"POST /d" + HOST + b"Content-Length: 40\r\n\r\n" + b"d" * 40,
    b"PUT /e" + HOST + b"Content-Length: 900\r\n\r\n" + b"e" * 900,
    b"POST /f" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /g" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /h" + HOST + b"Connection: close\r\n\r\n",
    b"GET /i" + HOST + b"X-Criticality: sheddable\r\n\r\n",
)
ANSWERS = b"0123479"
"""Of the answers in fuzz.conversation: those that end by themselves."""

who = st.integers(0, CLIENTS - 1)


class ExchangeMachine(RuleBasedStateMachine):
    @initialize(number=st.integers(0, len(DOCUMENTS) - 1))
    def begin(self, number: int) -> None:
        self.talk = Conversation(b"%d" % number)
        self.talk.world.__enter__()
        self.unsaid = [bytearray() for _ in range(CLIENTS)]

    def do(self, what: str, who: int, said: bytes = b"") -> None:
        self.talk.do(what, who, said)
        self.talk.world.rest()
        self.talk.look()

    # --- clients ----------------------------------------------------------------------------

    @rule(who=who, requests=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4))
    def ask(self, who: int, requests: list[bytes]) -> None:
        """One after the other without waiting, all in one piece."""
        self.unsaid[who] += b"".join(requests)
        self.say(who, 8000)

    @rule(who=who, request=st.sampled_from(REQUESTS))
    def mean_to_ask(self, who: int, request: bytes) -> None:
        """To be said in pieces."""
        self.unsaid[who] += request

    @rule(who=who, size=st.sampled_from((1, 7, 60, 400)))
    def say(self, who: int, size: int) -> None:
        transport = self.talk.current.get(who)
        if transport is not None and transport.has_lost:
            self.unsaid[who].clear()  # half of it went to the connection before
        piece, self.unsaid[who] = bytes(self.unsaid[who][:size]), self.unsaid[who][size:]
        if piece:
            self.do("c", who, piece)

    # --- upstreams --------------------------------------------------------------------------

    def waiting(self) -> list[int]:
        """Which of the connections that are open has read a whole request and not answered."""
        here = [one for one in self.talk.world.upstreams if not one.has_lost]
        return [index for index, one in enumerate(here) if owes(one)]

    @precondition(lambda self: self.waiting())
    @rule(picks=st.lists(st.integers(0, 3), min_size=1, max_size=3), data=st.sampled_from(ANSWERS))
    def answer(self, picks: list[int], data: int) -> None:
        for pick in picks:
            waiting = self.waiting()
            if waiting:
                self.do("a", waiting[pick % len(waiting)], bytes([data]))

    # --- what disturbs ----------------------------------------------------------------------

    @rule(who=who, what=st.sampled_from("bgbgbgerBGBGBGER"))
    def somebody_blocks_or_leaves(self, who: int, what: str) -> None:
        if what.isupper() or who in self.talk.current:
            self.do(what, who)
        if what in "er":
            self.unsaid[who].clear()

    @rule(
        what=st.sampled_from(
            [("t", b"0"), ("t", b"1"), ("t", b"2"), ("t", b"4"), ("d", b"0"), ("d", b"0")]
            + [("d", b"1"), ("d", b"2"), ("d", b"3")]
            + [("l", b"%d" % number) for number in range(len(DOCUMENTS))]
        )
    )
    def the_world_changes(self, what: tuple[str, bytes]) -> None:
        """Time passes, connects fail or succeed again, another configuration comes."""
        self.do(what[0], 0, what[1])

    @invariant()
    def nothing_has_failed(self) -> None:
        assert not self.talk.world.loop.failures

    def teardown(self) -> None:
        world = self.talk.world
        try:
            world.dial = "ok"
            for transport in (*world.clients, *world.upstreams):
                transport.unstick()
            for _ in range(60):
                # In all less than a client may be idle: nobody is rid of by a timeout.
                world.advance(milliseconds(60))
                for index in self.waiting():
                    self.do("a", index, b"0")
            for transport in world.clients:
                assert not is_left_waiting(transport), transport
            self.talk.wind_up()
            judge(self.talk)
        finally:
            world.__exit__()


def owes(transport) -> bool:
    """Whether an upstream has read a whole request that it has not answered."""
    requests = read_requests(bytes(transport.sent)).messages
    said = bytes(transport.heard).count(b"HTTP/1.") - bytes(transport.heard).count(b"HTTP/1.1 103")
    return sum(request.is_whole for request in requests) > said


def is_left_waiting(transport) -> bool:
    """Whether a client that is still there has sent a whole request and has no answer to it."""
    if transport.has_lost or transport.peer_has_reset or transport.has_eof:
        return False
    side = read_client(transport)
    if side.finals and b"close" in side.finals[-1].options():
        return False
    whole = [request for request in side.requests if request.is_whole]
    return len(whole) > sum(final.is_whole for final in side.finals)


def test_whatever_peers_do_nobody_is_left_waiting() -> None:
    """The same examples every time; `EXCHANGE_EXAMPLES` looks at more."""
    more = os.environ.get("EXCHANGE_EXAMPLES")
    run_state_machine_as_test(
        ExchangeMachine,
        settings=settings(
            max_examples=int(more or 200),
            stateful_step_count=50,
            derandomize=more is None,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
