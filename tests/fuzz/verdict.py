"""The oracle of target `exchange`: what must be true when a conversation is over.

Both sides are read by the model from what was really said and heard on each connection. Nothing of
the proxy is asked but its books: permits, slots, connections, timers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fuzz.conversation import DOCUMENTS, Conversation
from fuzz.expectations import judge_expectations
from fuzz.messages import DifferenceError, compare_fields, expect
from fuzz.model import Answer, Request, read_answers, read_requests

from shedproxy.dataplane.wire.upstreams import UpstreamGroup

__all__ = ["check", "judge"]

TAG = re.compile(rb"@[0-9a-f]{3}")
IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE")
NEVER_TRAILERS = (
    b"content-length transfer-encoding host connection upgrade te trailer set-cookie"
    b" authorization content-type content-encoding cache-control location date".split()
)
HELD_MAX = 16_000
"""Bytes held for one client: twice the buffers, a head, a body before its permit, some reads."""


@dataclass
class ClientSide:
    """One client's connection, as the model reads both directions."""

    transport: object
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    finals: list[Answer] = field(default_factory=list)
    error: object = None
    error_in_body: bool = False
    is_tunnel: bool = False


@dataclass
class Forwarded:
    """One request as an upstream read it, and what it said to it."""

    upstream: object
    request: Request
    at: int
    """When its head was there."""
    continues: list[int] = field(default_factory=list)
    """When the proxy had read each 100 of the answer."""
    answer: Answer | None = None
    is_answer_sound: bool = False


def check(data: bytes) -> None:
    """Run one script; raises DifferenceError, or whatever the proxy raises that it must not."""
    conversation = Conversation(data)
    with conversation.world:
        conversation.play()
        conversation.wind_up()
        judge(conversation)


def judge(conversation: Conversation) -> None:
    """All that must hold."""
    world = conversation.world
    for failure in world.loop.failures:
        error = failure.get("exception")
        if error is not None:
            raise error
        raise DifferenceError(f"loop: {failure.get('message')}")
    check_books(conversation)
    expect(conversation.held_max <= HELD_MAX, "held", conversation.held_max)
    sides = {transport: read_client(transport) for transport in world.clients}
    forwarded: dict[tuple[object, int], list[Forwarded]] = {}
    for transport in world.upstreams:
        for one in read_upstream(transport, sides):
            key = owner_of(one, sides)
            forwarded.setdefault(key, []).append(one)
            compare_request(conversation, one, *key, sides)
    for (transport, index), ones in forwarded.items():
        request = sides[transport].requests[index]
        whole = [one for one in ones if one.request.is_whole]
        is_once = len(whole) <= 1 or request.method in IDEMPOTENT
        expect(is_once, "sent twice", request.method)
    for side in sides.values():
        judge_client(conversation, side, forwarded)
    judge_marks(conversation, sides, forwarded)
    judge_expectations(conversation, sides, forwarded)


# --- books --------------------------------------------------------------------------------------


def check_books(conversation: Conversation) -> None:
    world = conversation.world
    server = world.server
    for cell in world.driver.shedder.stats().cells:
        books = (cell.in_flight, cell.queue_length, cell.residents, cell.zombies)
        expect(books == (0, 0, 0, 0), "in flight, queue, residents, zombies", books)
    reception = server.reception
    left = (len(reception.clients), len(reception.crowd), len(reception._refused))
    expect(left == (0, 0, 0), "clients left", left)
    expect(len(server.stalls) == 0, "watched for stalls", len(server.stalls))
    expect(server.tunnels == 0, "tunnels", server.tunnels)
    expect(server.upstream_connections == 0, "connections", server.upstream_connections)
    for group in server._groups.values():
        pool = group._pool
        expect(pool.waiting == 0, "in line for a connection", pool.waiting)
        for upstream in pool.upstreams:
            for lane in (upstream.data, upstream.control):
                expect(lane.in_use == 0, "slots in use", lane.in_use)
                expect(not lane.idle, "idle connections", len(lane.idle))
    # A group stays in its slot after its last deadline is taken away, and lives on anyway.
    timed = [item for slot in server.wheel._slots for item in slot]
    expect(all(type(item) is UpstreamGroup for item in timed), "timers", timed)
    expect(not any(item.deadline_at for item in timed), "deadlines")
    expect(not world.loop.pending, "timers of the loop", world.loop.pending)
    expect(all(task.done() for task in conversation.tasks), "drain does not end")
    for transport in (*world.clients, *world.upstreams):
        expect(transport.has_lost, "connection is left open", transport.name)


# --- reading ------------------------------------------------------------------------------------


def read_client(transport) -> ClientSide:
    side = ClientSide(transport)
    reading = read_requests(bytes(transport.heard))
    if not transport.spoke_first:
        side.requests, side.error = reading.messages, reading.error
        side.error_in_body = reading.error_in_body
    methods = [request.method for request in side.requests]
    # One more for what is not a request, or not all of one, by what had come of it when it was
    # answered.
    rest = bytes(transport.heard[reading.rest : transport.heard_before]).lstrip(b"\r\n")
    odd = b"HEAD" if rest.startswith(b"HEAD ") else b"GET"
    came = read_answers(
        bytes(transport.sent),
        [*methods, odd],
        has_ended=not (transport.resets or transport.peer_has_reset),
        is_tunnel=True,
    )
    expect(came.error is None, "answer is malformed", str(came.error), bytes(transport.sent))
    side.answers = came.messages
    side.finals = [one for one in came.messages if one.status >= 200 or one.status == 101]
    if side.finals and side.finals[-1].status == 101:
        index = len(side.finals) - 1
        expect(index < len(side.requests), "101 for nobody")
        del side.requests[index + 1 :]
        side.is_tunnel, side.error = True, None
    elif not side.finals or side.finals[-1].is_whole:
        rest = bytes(transport.sent[came.rest :])
        begun = b"HTTP/1.1 "
        is_head = rest.startswith(begun) or begun.startswith(rest)
        expect(is_head, "bytes after the last answer", rest)
    return side


def read_upstream(transport, sides: dict[object, ClientSide]) -> list[Forwarded]:
    data = bytes(transport.sent)
    reading = read_requests(data)
    messages = reading.messages
    answers = read_answers(
        bytes(transport.heard),
        [message.method for message in messages],
        has_ended=transport.end_was_heard,
    )
    found = [Forwarded(transport, one, transport.sent_at(one.body_begin)) for one in messages]
    if found and is_ping(found[0].request):
        expect(len(found) == 1, "a request after a ping", found[1:])
        return []
    finals = [one for one in answers.messages if one.status >= 200]
    for one, answer in zip(found, finals, strict=False):
        one.answer = answer
        one.is_answer_sound = True
    index = 0
    for answer in answers.messages:
        if answer.status == 100 and index < len(found):
            found[index].continues.append(transport.heard_at(answer.end))
        index += answer.status >= 200
    switched = next((one for one in answers.messages if one.status == 101), None)
    if switched is not None:
        index = sum(one.end <= switched.begin for one in finals)
        if index < len(found):
            key = owner_of(found[index], sides)
            side = sides[key[0]]
            if side.is_tunnel and key[1] == len(side.requests) - 1:
                check_tunnel(transport, found[index].request, switched, side)
                return found[: index + 1]
    expect(reading.error is None, "malformed towards an upstream", str(reading.error), data)
    return found


def is_ping(request: Request) -> bool:
    """A question of the proxy's own, whether the upstream is well."""
    return request.target == b"*" and not request.all(b"x-forwarded-for")


def check_tunnel(transport, request: Request, switched: Answer, side: ClientSide) -> None:
    """Bytes both ways, in order, nothing lost but what came too late."""
    up = bytes(transport.sent[request.end :])
    said = bytes(side.transport.heard[side.requests[-1].end :])
    expect(said.startswith(up), "tunnel, up", said, up)
    down = bytes(side.transport.sent[side.answers[-1].end :])
    heard = bytes(transport.heard[switched.end :])
    expect(heard.startswith(down), "tunnel, down", heard, down)


def owner_of(one: Forwarded, sides: dict[object, ClientSide]) -> tuple[object, int]:
    """Whose request this is: by the address it came from, and by what was answered before."""
    claimed = one.request.all(b"x-forwarded-for")
    expect(len(claimed) == 1, "x-forwarded-for", claimed)
    for transport, side in sides.items():
        if transport.address.encode() != claimed[0]:
            continue
        before = [x for x in side.finals if x.is_whole and transport.sent_at(x.end) < one.at]
        index = len(before)
        if index < len(side.requests) and side.requests[index].path == one.request.target:
            began = side.requests[index]
            if is_same_head(began, one.request):
                return transport, index
    raise DifferenceError(f"nobody sent this: {one.request}")


def is_same_head(came: Request, sent: Request) -> bool:
    return came.method == sent.method and came.framing == sent.framing


# --- judging ------------------------------------------------------------------------------------


def compare_request(
    conversation: Conversation,
    one: Forwarded,
    transport,
    index: int,
    sides: dict[object, ClientSide],
) -> None:
    came, sent = sides[transport].requests[index], one.request
    expect(sent.minor == 1, "version")
    expect(sent.length == came.length, "length", came.length, sent.length)
    hosts = {came.host} if came.host else set()
    if not came.host or any(not document.proxy.preserve_host for document in DOCUMENTS):
        hosts |= {b"10.0.0.1:80", b"10.0.0.2:80"}
    expect(sent.host in hosts, "host", came.host, sent.host)
    expect(came.body.startswith(sent.body), "request body", came.body, sent.body)
    expect(not sent.is_whole or came.is_whole, "a part is passed on as whole", sent)
    if sent.is_whole:
        expect(came.body == sent.body, "request body", came.body, sent.body)
    compare_fields(came, sent)


def judge_client(
    conversation: Conversation,
    side: ClientSide,
    forwarded: dict[tuple[object, int], list[Forwarded]],
) -> None:
    transport = side.transport
    was_refused = False
    for index, final in enumerate(side.finals):
        reason = final.all(b"shedproxy-reason")
        expect(not was_refused, "an answer after the last one")
        if b"close" in final.options():
            was_refused = True
        expect(final.status == 101 or bool(final.all(b"date")) or bool(reason), "no date", final)
        if reason:
            judge_own(conversation, side, index, final, reason[0])
        else:
            expect(index < len(side.requests), "an answer to no request", final)
            ones = forwarded.get((transport, index), [])
            judge_answer(side, final, ones)


def judge_own(
    conversation: Conversation, side: ClientSide, index: int, final: Answer, reason: bytes
) -> None:
    """An answer of the proxy's own."""
    expect(final.status != 500, "500", reason)
    is_malformed = side.error is not None and not side.error_in_body
    if index >= len(side.requests):
        # Not a request, or not all of one: never the server's fault.
        statuses = side.error.statuses if is_malformed else ()
        is_full = reason in (b"draining", b"connection_limit")
        is_named = 400 <= final.status < 500 or final.status in statuses or is_full
        expect(is_named, "malformed input is the server's fault", final.status, reason)
    elif final.status == 400:
        request = side.requests[index]
        is_bad = bool(request.unusual) or not request.is_whole or side.error is not None
        expect(is_bad, "400 for a good request", request)


def judge_answer(side: ClientSide, final: Answer, ones: list[Forwarded]) -> None:
    """What an upstream said to this request, and all of it if the client takes it for whole."""
    if final.status == 101:
        return  # `check_tunnel` has seen to it
    sounds = [one.answer for one in ones if one.answer is not None]
    expect(bool(sounds), "no upstream said this", final)
    last = sounds[-1]
    expect(final.status == last.status, "status", last.status, final.status)
    expect(last.body.startswith(final.body), "answer body", last.body, final.body)
    if final.is_whole:
        expect(last.is_whole, "a cut answer is passed on as whole", last, final)
        expect(last.body == final.body, "answer body", last.body, final.body)
    compare_fields(last, final)
    for pair in final.trailers:
        expect(pair in last.trailers, "trailer appears", pair)
        expect(pair[0] not in NEVER_TRAILERS, "trailer that must be a header", pair)


def judge_marks(
    conversation: Conversation,
    sides: dict[object, ClientSide],
    forwarded: dict[tuple[object, int], list[Forwarded]],
) -> None:
    """Not a byte of one client's answer in another's."""
    by_upstream: dict[object, list[tuple[int, tuple[object, int]]]] = {}
    for key, ones in forwarded.items():
        for one in ones:
            by_upstream.setdefault(one.upstream, []).append((one.at, key))
    for transport, side in sides.items():
        for match in TAG.finditer(bytes(transport.sent)):
            tag, at = match[0], match.start()
            if tag not in conversation.marks:
                continue
            upstream, said = conversation.marks[tag]
            under_way = [key for when, key in sorted_(by_upstream.get(upstream, [])) if when < said]
            index = sum(final.is_whole and final.end <= at for final in side.finals)
            if side.is_tunnel:
                index = min(index, len(side.requests) - 1)
            expect(bool(under_way), "said on an idle connection, heard by a client", tag)
            expect(under_way[-1] == (transport, index), "another's answer", tag, transport.name)


def sorted_(pairs: list) -> list:
    return sorted(pairs, key=lambda pair: pair[0])
