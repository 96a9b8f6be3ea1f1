"""Bodies are bounded, answers are JSON, and no browser can use them."""

from __future__ import annotations

import json

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from shedproxy.listening import (
    Refusal,
    guarded,
    json_answer,
    problem_handlers,
    read_object,
    refused,
)

pytestmark = pytest.mark.anyio


async def echo(request):
    content = await read_object(request, size_max=64)
    if content.get("break"):
        raise ZeroDivisionError
    return json_answer(content)


def client() -> httpx2.AsyncClient:
    app = Starlette(
        routes=[Route("/", echo, methods=["POST"])], exception_handlers=problem_handlers()
    )
    transport = httpx2.ASGITransport(app=guarded(app), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"", 200, ""),
        (b'{"a": 1}', 200, ""),
        (b"[]", 422, "must be a JSON object"),
        (b"{", 400, "is not JSON"),
        (b"[" * 63, 400, "is not JSON"),
        (b" " * 65, 413, "larger than 64"),
        (b'{"break": 1}', 500, "ZeroDivisionError"),
    ],
)
async def test_a_body_is_an_object_or_a_problem(body, status, detail):
    async with client() as http:
        answer = await http.post("/", content=body)
    assert answer.status_code == status
    assert detail in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    if status >= 400:
        assert answer.json()["status"] == status
        assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_paths_are_problems():
    async with client() as http:
        assert (await http.get("/x")).json()["title"] == "Not found"


def test_who_may_not_is_told_where_the_key_is_if_there_is_one():
    answer = refused(Refusal(status=401, title="T", detail="D", order_key="/run/key"))
    assert answer.headers["www-authenticate"] == "Bearer"
    assert json.loads(answer.body)["order_key"] == "/run/key"
    answer = refused(Refusal(status=403, title="T", detail="D"))
    assert "order_key" not in json.loads(answer.body)
