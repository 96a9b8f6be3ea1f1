"""Answers of listeners that take orders: JSON, problems (RFC 9457), and bodies that are bounded."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shedproxy.listening.callers import Refusal

__all__ = [
    "BODY_SIZE_MAX",
    "guarded",
    "json_answer",
    "problem",
    "problem_handlers",
    "read_object",
    "refused",
]

BODY_SIZE_MAX = 16 * 1024
"""Bytes of a request to change something, where nothing else is said."""

_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_GUARDS = (
    # Nothing here is a page. A browser shall not run, frame, guess, keep or lend any of it.
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_TITLES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    422: "Invalid request",
}


def guarded(app: ASGIApp) -> ASGIApp:
    """The same answers, each with the fields that keep browsers from using them."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_GUARDS]}
            await send(message)

        await app(scope, receive, send_guarded)

    return call


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    order_key: str = "",
    headers: dict[str, str] | None = None,
) -> Response:
    """An RFC 9457 answer; `errors` name the places in the request, `order_key` what lacks there."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if errors:
        content["errors"] = errors
    if order_key:
        content["order_key"] = order_key
    return JSONResponse(content, status, headers=headers, media_type="application/problem+json")


def refused(refusal: Refusal) -> Response:
    """That somebody may not."""
    return problem(
        refusal.status,
        refusal.title,
        refusal.detail,
        order_key=refusal.order_key,
        headers=refusal.headers,
    )


def json_answer(content: dict[str, Any], *, status: int = 200) -> Response:
    """An object, laid out for people."""
    body = json.dumps(content, indent=2, allow_nan=False) + "\n"
    return Response(body, status, media_type="application/json")


async def read_object(request: Request, *, size_max: int = BODY_SIZE_MAX) -> dict[str, Any]:
    """The body as a JSON object; an empty one is `{}`.

    Raises:
        HTTPException: 413 too long, 400 no JSON, 422 no object.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > size_max:
            raise HTTPException(413, f"the body is larger than {size_max} bytes")
    if not body.strip():
        return {}
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise HTTPException(422, "the body must be a JSON object")
    return content


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    title = _TITLES.get(error.status_code, "Refused")
    return problem(error.status_code, title, error.detail, headers=headers)


async def _on_error(_: Request, error: Exception) -> Response:
    return problem(500, "Internal error", f"{type(error).__name__}: see the log")


def problem_handlers() -> dict[Any, Any]:
    """What Starlette is told to do with exceptions: problems, too."""
    return {HTTPException: _on_http, Exception: _on_error}
