"""The control plane's HTTP. Every order is a verb, every answer says who it was taken from.

GET  /v1/status, /v1/audit?from=N, /livez
POST /v1/<verb>     422 what is asked makes no sense, 409 the fleet is in the way,
                    503 the store is gone, 429 too many are waiting
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shedproxy.clock import Clock, monotonic_now, wall_seconds
from shedproxy.controlplane.orders import OrderRefusedError
from shedproxy.controlplane.persons import Person, Persons
from shedproxy.controlplane.rollout import RolloutRules
from shedproxy.controlplane.service import FleetService, StoreGoneError
from shedproxy.controlplane.verbs import VERBS, Order, parse_order
from shedproxy.controlplane.views import audit_view, fleet_view
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.listening import (
    Refusal,
    guarded,
    json_answer,
    peer_of,
    problem,
    problem_handlers,
    read_object,
    refused,
)

__all__ = ["WAITING_MAX", "make_api"]

WAITING_MAX = 16
"""Callers that may wait for the store at once."""
_BODY_SIZE_MAX = 8 << 20
_WITHIN_S = 30.0
"""An order that took longer is not waited for; the audit says whether it was done."""
_PROBLEMS_MAX = 100

_Answer = Callable[[Request, Person], Awaitable[Response]]
_Note = Callable[[Request, str, str, str, int], None]
"""Takes what was refused before it was an order: whose, which verb, why and as which status."""


def make_api(
    service: FleetService,
    persons: Persons,
    *,
    clock: Clock = monotonic_now,
    wall: Callable[[], float] = wall_seconds,
) -> ASGIApp:
    """The application."""
    waiting = asyncio.Semaphore(WAITING_MAX)
    note = _noting(service)

    async def status(_request: Request, _person: Person) -> Response:
        if service.head is None:
            raise StoreGoneError(service.trouble or "the store was not read yet")
        return json_answer(
            fleet_view(
                service.head,
                service.seen,
                service.sightings,
                service.votes,
                now=clock(),
                now_s=wall(),
                trouble=service.trouble,
                clocks=service.clocks.apart,
            )
        )

    async def audit(request: Request, _person: Person) -> Response:
        text = request.query_params.get("from", "1")
        if not text.isascii() or not text.isdecimal():
            raise OrderRefusedError("?from", f"{text!r} is no revision", is_conflict=False)
        return json_answer({"entries": audit_view(await service.audit(int(text)))})

    def order(verb: str) -> _Answer:
        async def answer(request: Request, person: Person) -> Response:
            asked = await _order_of(request, person, verb, service.rules.rollout, note)
            return json_answer(await service.order(asked, who=person.name))

        return answer

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = [
        Route("/livez", livez, methods=["GET"]),
        Route("/v1/status", _asked(status, persons, note, None), methods=["GET"]),
        Route("/v1/audit", _bounded(_asked(audit, persons, note, None), waiting), methods=["GET"]),
        *(
            Route(
                f"/v1/{verb}",
                _bounded(_asked(order(verb), persons, note, verb), waiting),
                methods=["POST"],
            )
            for verb in VERBS
        ),
    ]
    return guarded(Starlette(routes=routes, exception_handlers=problem_handlers()))


async def _order_of(
    request: Request, person: Person, verb: str, rules: RolloutRules, note: _Note
) -> Order:
    try:
        return parse_order(verb, await read_object(request, size_max=_BODY_SIZE_MAX), rules)
    except HTTPException as error:
        note(request, person.name, verb, error.detail, error.status_code)
        raise
    except OrderRefusedError as error:
        note(request, person.name, verb, str(error), 422)
        raise


def _noting(service: FleetService) -> _Note:
    def note(request: Request, person: str, verb: str, why: str, status: int) -> None:
        caller = request.client.host if request.client is not None else ""
        service.refusals.note(person, verb, why, status=status, caller=caller)

    return note


def _bounded(
    endpoint: Callable[[Request], Awaitable[Response]], waiting: asyncio.Semaphore
) -> Callable[[Request], Awaitable[Response]]:
    """Not more than a few at once, and none for ever: the store is slow, callers are many."""

    async def answer(request: Request) -> Response:
        if waiting.locked():
            return problem(429, "Busy", "too many are waiting for the store: try again soon")
        async with waiting:
            try:
                async with asyncio.timeout(_WITHIN_S):
                    return await endpoint(request)
            except TimeoutError:
                detail = f"not done in {_WITHIN_S:g} s; shedproxy control audit says if it is"
                return problem(503, "Store gone", detail)

    return answer


def _asked(
    answer: _Answer, persons: Persons, note: _Note, verb: str | None
) -> Callable[[Request], Awaitable[Response]]:
    """By somebody who may; `verb` is None for who only looks."""

    async def endpoint(request: Request) -> Response:
        peer = peer_of(request.scope)
        person = persons.identify(request.headers, peer, changes=verb is not None)
        if isinstance(person, Refusal):
            # Commands that show nothing ask for the key in this way.
            if not person.order_key or "authorization" in request.headers:
                note(request, "", verb or "look", person.detail, person.status)
            return refused(person)
        if verb is not None and not person.may(verb):
            detail = f"{person.name} is {person.role}, and may not {verb}"
            note(request, person.name, verb, detail, 403)
            return problem(403, "Not allowed", detail)
        try:
            return await answer(request, person)
        except OrderRefusedError as error:
            found = {"place": error.place, "detail": str(error), "help": error.help}
            status, title = (409, "Refused") if error.is_conflict else (422, "Invalid request")
            return problem(status, title, str(error), errors=[found])
        except DocumentInvalidError as error:
            count = len(error.problems)
            detail = f"the settings are refused: {count} problem{'s' if count > 1 else ''}"
            found_all = [_shown(each) for each in error.problems[:_PROBLEMS_MAX]]
            return problem(422, "Invalid settings", detail, errors=found_all)
        except StoreGoneError as error:
            return problem(503, "Store gone", str(error))

    return endpoint


def _shown(found: Problem) -> dict[str, Any]:
    """A problem with all that a terminal needs to show it."""
    return {
        "place": ".".join(found.path),
        "detail": found.message,
        "source": found.source,
        "line": found.line,
        "column": found.column,
        "length": found.length,
        "note": found.note,
        "help": found.help,
        "excerpt": [[number, text] for number, text in found.excerpt],
    }
