"""What must be true of `Expect: 100-continue` when a conversation is over (RFC 9110 10.1.1).

An upstream is asked only what its client asked, and only about a body that could be large; a client
that waits for its 100 hears what the upstream says, or that it says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzz.messages import expect
from fuzz.model import Request

if TYPE_CHECKING:
    from fuzz.conversation import Conversation
    from fuzz.verdict import ClientSide, Forwarded

    from shedproxy.snapshot import Document

__all__ = ["check_silence", "judge_expectations"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def expects(request: Request) -> bool:
    """Whether the client may wait for a 100."""
    has_body = request.framing == "chunked" or request.length > 0
    return has_body and request.minor == 1 and bool(request.all(b"expect"))


def asks(document: Document, request: Request) -> bool:
    """Whether under this configuration it is the upstream that says whether the body may come."""
    proxy = document.proxy
    size_max = request.length if request.framing == "sized" else proxy.body_size_max
    is_large = not size_max or size_max > proxy.permit_body_size
    return is_large and proxy.timeouts.expect_continue_ns > 0


def judge_expectations(
    conversation: Conversation,
    sides: dict[object, ClientSide],
    forwarded: dict[tuple[object, int], list[Forwarded]],
) -> None:
    """Who was asked, and whose 100 a client got."""
    for (transport, index), ones in forwarded.items():
        came = sides[transport].requests[index]
        for one in ones:
            judge_asking(conversation, sides[transport], came, one)
        judge_passing(sides[transport], index, ones)
    for transport, side in sides.items():
        judge_continues(conversation, side, transport, forwarded)


def judge_asking(
    conversation: Conversation, side: ClientSide, came: Request, one: Forwarded
) -> None:
    asked = one.request.all(b"expect")
    may = expects(came) and any(asks(each, came) for each in conversation.documents)
    must = expects(came) and all(asks(each, came) for each in conversation.documents)
    expect(asked in ([], [b"100-continue"]), "Expect is passed on otherwise", asked)
    expect(may or not asked, "Expect that nobody said, or of a small body", came)
    if must and not asked:
        transport = side.transport
        has_begun = transport.heard_at(came.body_begin + 1) < one.at
        was_told = any(
            each.status == 100 and transport.sent_at(each.end) < one.at for each in side.answers
        )
        expect(has_begun or was_told, "an upstream is not asked", came)


def judge_passing(side: ClientSide, index: int, ones: list[Forwarded]) -> None:
    """The 100 of an upstream that was asked comes before the answer that followed it."""
    one = ones[-1]
    if index >= len(side.finals) or one.answer is None or not one.request.all(b"expect"):
        return
    final = side.finals[index]
    since = side.finals[index - 1].end if index else 0
    if final.status == one.answer.status and not final.all(b"shedproxy-reason"):
        told = [each for each in side.answers if since <= each.begin < final.begin]
        count = sum(each.status == 100 for each in told)
        expect(count >= len(one.continues), "the upstream's 100 is lost", count)


def judge_continues(
    conversation: Conversation,
    side: ClientSide,
    transport: object,
    forwarded: dict[tuple[object, int], list[Forwarded]],
) -> None:
    index, count = 0, 0
    for answer in side.answers:
        if answer.status >= 200 or answer.status == 101:
            index, count = index + 1, 0
        elif answer.status == 100:
            count += 1
            if transport.end_was_heard:
                continue  # the proxy looks whether somebody is there
            is_known = index < len(side.requests)
            expect(is_known and expects(side.requests[index]), "100 for who did not ask")
            at = transport.sent_at(answer.end)
            ones = [one for one in forwarded.get((transport, index), []) if one.at < at]
            must = all(asks(each, side.requests[index]) for each in conversation.documents)
            expect(bool(ones) or not must, "100 before an upstream has the head")
            was_asked = ones and ones[-1].request.all(b"expect")
            if was_asked and not says_time(conversation, side.requests[index]):
                judge_reason(conversation, ones[-1], at, count)


def says_time(conversation: Conversation, request: Request) -> bool:
    """Whether its deadline may come before an upstream has said nothing for as long as it may."""
    names = {
        name.encode()
        for each in conversation.documents
        for name in each.classification.deadline_headers
    }
    return any(request.all(name) for name in names)


def judge_reason(conversation: Conversation, one: Forwarded, at: int, count: int) -> None:
    """A 100 after an upstream was asked: it said so, or nothing for as long as it may."""
    said = sum(heard < at for heard in one.continues)
    silent_ns = conversation.world.clock_at(at) - conversation.world.clock_at(one.at)
    least_ns = min(
        each.proxy.timeouts.expect_continue_ns
        for each in conversation.documents
        if asks(each, one.request)
    )
    is_silent = silent_ns >= least_ns
    expect(said + is_silent >= count, "100 before the upstream said so", silent_ns, count)


def check_silence(conversation: Conversation) -> None:
    """Longer than an upstream may say nothing about a body, nothing was said: it is asked for."""
    world = conversation.world
    clients = {one.address.encode(): one for one in world.clients if one.is_here}
    for upstream in world.upstreams:
        head = bytes(upstream.sent).rpartition(b"\r\n\r\n")[0].rpartition(b"\r\n\r\n")[2]
        if not (upstream.is_here and upstream.sent.endswith(b"\r\n\r\n")):
            continue
        lines = head.split(b"\r\n")
        has_more = upstream.heard_pieces and upstream.heard_pieces[-1][0] > upstream.pieces[-1][0]
        if b"expect: 100-continue" not in lines or has_more:
            continue
        for address, client in clients.items():
            if b"x-forwarded-for: " + address in lines:
                is_told = client.sent.endswith(CONTINUE)
                expect(is_told, "a client waits for ever", bytes(client.sent[-80:]))
