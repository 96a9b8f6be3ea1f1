"""Compares what came of a case with what must: the differences, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import h11
from conformance.case import AnswerCase, Case, Read, RequestCase
from conformance.observe import Observation
from conformance.strict import Message

__all__ = ["differences", "explain", "second_opinion"]


def differences(case: Case, seen: Observation) -> list[str]:
    """Nothing when the case passes."""
    found = list(seen.problems)
    if seen.statuses != case.statuses:
        found.append(f"statuses {seen.statuses}, not {case.statuses}")
    expected_end = "kept" if case.is_kept else "closed"
    if seen.end != expected_end:
        found.append(f"the connection is {seen.end}, not {expected_end}")
    for request in () if case.script.is_early else seen.requests:
        found += second_opinion(request)
    if isinstance(case, RequestCase):
        found += _of_request(case, seen)
    else:
        assert isinstance(case, AnswerCase)
        found += _of_answer(case, seen)
    return found


def explain(case: Case, seen: Observation, found: list[str]) -> str:
    """What a failing test says: the clause, the bytes, what is different."""
    sent = "\n".join(f"    {segment[:2000]!r}" for segment in case.sent)
    lines = [f"{case.name} ({case.clause})", "  sent:", sent]
    if isinstance(case, AnswerCase):
        lines += ["  upstream:", *(f"    {each[:2000]!r}" for each in case.script.answer)]
    lines += ["  reached the upstream:", *(f"    {each.raw[:2000]!r}" for each in seen.requests)]
    lines += ["  received:", f"    {seen.received[:2000]!r}", "  wrong:"]
    return "\n".join(lines + [f"    {each}" for each in found])


def second_opinion(request: Message) -> Iterator[str]:
    """What h11 reads otherwise in bytes that reached the upstream."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(request.raw)
    body = b""
    head = None
    try:
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if type(event) is h11.Request:
                head = event
            elif type(event) is h11.Data:
                body += event.data
            elif type(event) in {h11.EndOfMessage, h11.ConnectionClosed} or event is h11.PAUSED:
                break
    except h11.RemoteProtocolError as error:
        yield f"h11 refuses what was forwarded: {error}"
        return
    if head is None:
        yield "h11 finds no request in what was forwarded"
    elif (head.method.decode(), head.target.decode(), body) != (*request.start[:2], request.body):
        yield f"h11 reads {head.method!r} {head.target!r} {body[:100]!r}"


def _of_request(case: RequestCase, seen: Observation) -> Iterator[str]:
    if len(seen.requests) != len(case.reads):
        yield f"{len(seen.requests)} requests reached the upstream, not {len(case.reads)}"
    for request, read in zip(seen.requests, case.reads, strict=False):
        yield from _reading(request, read)
    if seen.answers:
        yield from _fields(seen.answers[-1], case.answers)
    elif case.answers:
        yield "no answer whose fields could be compared"


def _reading(request: Message, read: Read) -> Iterator[str]:
    method, target, _ = request.start
    if (method, target) != (read.method, read.target):
        yield f"forwarded as {method} {target}, not {read.method} {read.target}"
    if request.get("host") != read.host:
        yield f"forwarded with Host {request.get('host')}, not {read.host}"
    if request.body != read.body:
        yield f"forwarded with the body {request.body[:200]!r}, not {read.body[:200]!r}"
    if request.trailers:
        yield f"forwarded with trailers {request.trailers}"
    yield from _fields(request, read.fields)


def _fields(message: Message, expected: Mapping[str, str | None]) -> Iterator[str]:
    for name, value in expected.items():
        if message.get(name) != value:
            yield f"{name} is {message.get(name)!r}, not {value!r}"


def _of_answer(case: AnswerCase, seen: Observation) -> Iterator[str]:
    if not seen.answers:
        return
    final = seen.answers[-1]
    if case.is_cut == final.is_whole:
        yield f"the answer looks {'whole' if final.is_whole else 'cut'}"
    if final.status < 500 and final.body != case.body:
        yield f"the body is {final.body[:200]!r}, not {case.body[:200]!r}"
    if tuple(final.trailers) != case.trailers:
        yield f"the trailers are {final.trailers}, not {case.trailers}"
    yield from _fields(final, case.fields)
    if seen.is_reused is not case.is_reused:
        was = "reused" if seen.is_reused else "not reused"
        yield f"the upstream connection was {was}"
    if not case.is_reused and not seen.is_upstream_closed:
        yield "the upstream connection was left open"
