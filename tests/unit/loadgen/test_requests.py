"""Requests from flags, files, API descriptions and logs."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from shedproxy.core import Criticality
from shedproxy.loadgen.openapi import requests_from_openapi
from shedproxy.loadgen.requests import (
    RequestSet,
    RequestSetError,
    RequestSpec,
    parse_mix,
    parse_request,
    requests_from_log,
    requests_from_toml,
)


def test_a_request_is_a_method_a_path_and_a_weight() -> None:
    assert parse_request("/x?y=1") == RequestSpec(path="/x?y=1")
    assert parse_request("post /orders 0.5") == RequestSpec(
        method="POST", path="/orders", weight=0.5
    )
    assert parse_request("/x?y=1").route == "GET /x"


@pytest.mark.parametrize("text", ["", "GET", "FETCH /x", "GET x", "GET /x much", "GET /x -1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(RequestSetError):
        parse_request(text)


def test_a_message_has_host_class_headers_and_length() -> None:
    spec = RequestSpec(method="POST", path="/o", headers=(("x-a", "1"),), body=b"hi")
    message = spec.encode("h:1", Criticality.SHEDDABLE)
    head, _, body = message.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /o HTTP/1.1", b"host: h:1", b"x-a: 1", b"x-criticality: sheddable",
        b"content-length: 2",
    ]  # fmt: skip
    assert body == b"hi"


def test_requests_and_classes_are_drawn_by_weight() -> None:
    chosen = RequestSet(
        [
            RequestSpec(path="/a", weight=3),
            RequestSpec(path="/b", criticality=Criticality.SHEDDABLE),
        ],
        parse_mix("critical=1,critical_plus=1"),
    )
    draw = chosen.drawing(random.Random(1))
    counts = Counter(chosen.pair(draw()) for _ in range(8000))
    assert counts[1, Criticality.SHEDDABLE] == pytest.approx(2000, rel=0.1)
    assert counts[0, Criticality.CRITICAL] == pytest.approx(3000, rel=0.1)
    assert len(chosen.messages("h")) == 3
    assert chosen.routes == ("GET /a", "GET /b")
    assert RequestSet([RequestSpec()]).drawing(random.Random(1))() == 0
    with pytest.raises(RequestSetError):
        RequestSet([])


@pytest.mark.parametrize(
    "text", ["vip=1", "critical", "critical=0", "critical=-1", "critical=nan", "critical=inf"]
)
def test_a_mix_of_unknown_or_no_classes_is_refused(text: str) -> None:
    with pytest.raises(RequestSetError):
        parse_mix(text)


def test_a_toml_file_has_requests_with_bodies_and_classes(tmp_path: Path) -> None:
    file = tmp_path / "load.toml"
    file.write_text(
        '[[request]]\npath = "/a"\nweight = 2\nname = "a"\n'
        '[[request]]\nmethod = "POST"\npath = "/b"\njson = { x = 1 }\nclass = "sheddable"\n'
    )
    first, second = requests_from_toml(file)
    assert (first.route, first.weight) == ("a", 2)
    assert second.body == b'{"x": 1}'
    assert second.criticality is Criticality.SHEDDABLE
    assert ("content-type", "application/json") in second.headers
    for text, says in (
        ("[[request]]\npaht = 1", "unknown key 'paht'"), ("x = 1", "no \\[\\[request"),
        ("[", "load.toml"), ("request = [1]", "no table"),
        ('[[request]]\npath = "/caf\u00e9"', "a path begins with /"),
        ('[[request]]\nheaders = { a = "1\\r\\nb: 2" }', "header a"),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(RequestSetError, match=says):
            requests_from_toml(file)


def test_a_log_gives_its_mix(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    line = '1.2.3.4 - - [22/Nov/2026:20:41:07 +0000] "{} HTTP/1.1" 200 3\n'
    file.write_text(
        line.format("GET /a") * 3
        + line.format("POST /b")
        + json.dumps({"method": "GET", "path": "/c"}) + "\n"
        + json.dumps({"method": "GET", "path": "/d HTTP/1.1\r\nx: y"}) + "\n{broken\nnoise\n"
    )  # fmt: skip
    assert [(spec.path, spec.weight) for spec in requests_from_log(file)] == [("/a", 3), ("/c", 1)]
    file.write_text("nothing\n")
    with pytest.raises(RequestSetError, match="no line"):
        requests_from_log(file)
    with pytest.raises(RequestSetError):
        requests_from_log(tmp_path / "none")


def test_a_class_draws_its_own_messages_by_weight() -> None:
    requests = RequestSet(
        [RequestSpec(path="/a", weight=3.0), RequestSpec(path="/b")],
        {Criticality.CRITICAL: 1.0, Criticality.SHEDDABLE: 4.0},
    )
    draw = requests.drawing_of(Criticality.SHEDDABLE, random.Random(1))
    drawn = [requests.pair(draw()) for _ in range(4000)]
    assert {criticality for _, criticality in drawn} == {Criticality.SHEDDABLE}
    assert sum(place == 0 for place, _ in drawn) == pytest.approx(3000, rel=0.05)
    assert requests.below[-1] == pytest.approx(20.0)


@pytest.mark.parametrize("read", [requests_from_toml, requests_from_openapi])
def test_a_file_that_is_no_text_is_refused_by_name(read, tmp_path) -> None:
    (tmp_path / "junk").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestSetError, match="junk: it is not UTF-8 text"):
        read(tmp_path / "junk")
