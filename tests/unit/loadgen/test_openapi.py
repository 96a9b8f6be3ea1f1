"""What an OpenAPI file has to ask for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from shedproxy.loadgen.openapi import requests_from_openapi
from shedproxy.loadgen.requests import RequestSetError, RequestSpec

ID = {"name": "id", "in": "path", "required": True}
SHARED = {"name": "id", "in": "path", "required": True, "example": "of all"}


def found(tmp_path: Path, document: object) -> list[RequestSpec]:
    file = tmp_path / "openapi.json"
    file.write_text(json.dumps(document))
    return requests_from_openapi(file)


def asked(tmp_path: Path, template: str, *parameters: object, **more: Any) -> str:
    operations = {"get": {"parameters": parameters}, "parameters": more.pop("shared", [])}
    (spec,) = found(tmp_path, {"paths": {template: operations}, **more})
    return spec.path


def test_operations_that_read_and_are_known_are_taken(tmp_path: Path) -> None:
    specs = found(
        tmp_path,
        {
            "paths": {
                "/a": {"get": {}, "post": {}},
                "/b/{id}": {"get": {"parameters": [{**ID, "example": 7}]}},
                "/c/{id}": {"get": {"parameters": [ID]}},
                "/d/{id}": {"get": {}},
                "/e": {"head": {}, "get": {"parameters": [{**ID, "in": "header"}]}},
            }
        },
    )
    assert [spec.path for spec in specs] == ["/a", "/b/7", "/e"]
    assert [spec.route for spec in specs] == ["GET /a", "GET /b/{id}", "HEAD /e"]


@pytest.mark.parametrize(
    "says",
    [
        {"example": "x"},
        {"examples": {"usual": {"value": "x"}}},
        {"schema": {"example": "x"}},
        {"schema": {"examples": ["x", "y"]}},
        {"schema": {"default": "x", "enum": ["y", "x"]}},
        {"schema": {"enum": ["x", "y"]}},
    ],
)
def test_a_value_is_known_wherever_the_file_may_have_it(
    tmp_path: Path, says: dict[str, object]
) -> None:
    assert asked(tmp_path, "/{id}", {**ID, **says}) == "/x"


def test_values_are_written_as_a_target_has_them(tmp_path: Path) -> None:
    query = {"in": "query"}
    assert (
        asked(
            tmp_path,
            "/caf\u00e9/{id}",
            {**ID, "example": "a b/c?d"},
            {**query, "name": "q", "example": "x&y=z"},
            {**query, "name": "flag", "schema": {"default": False}},
            {**query, "name": "tag", "example": ["a", "b"]},
            {**query, "name": "not known"},
        )
        == "/caf%C3%A9/a%20b%2Fc%3Fd?q=x%26y%3Dz&flag=false&tag=a&tag=b"
    )


def test_references_are_followed_and_the_operation_overrides_its_path(tmp_path: Path) -> None:
    components = {
        "parameters": {"page": {"name": "page", "in": "query", "schema": {"$ref": "#/s/Page"}}}
    }
    assert (
        asked(
            tmp_path,
            "/{id}",
            {"$ref": "#/components/parameters/page"},
            {**ID, "example": "own"},
            shared=[SHARED],
            components=components,
            s={"Page": {"default": 3}},
        )
        == "/own?page=3"
    )


@pytest.mark.parametrize("reference", ["#/nowhere", "#/paths", "other.json#/a", "#/s/loop"])
def test_a_reference_to_nothing_is_no_parameter(tmp_path: Path, reference: str) -> None:
    loop = {"loop": {"$ref": "#/s/loop"}}
    assert asked(tmp_path, "/a", {"$ref": reference}, s=loop) == "/a"


@pytest.mark.parametrize("text", ["{}", "[]", '{"paths": {"/a": []}}', "openapi: 3"])
def test_a_file_with_nothing_to_ask_for_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "openapi.json"
    file.write_text(text)
    with pytest.raises(RequestSetError, match=r"openapi\.json: "):
        requests_from_openapi(file)


@pytest.mark.parametrize(
    ("server", "path"),
    [
        ({"url": "https://api.example/v1/"}, "/v1/a"),
        ({"url": "/v 2"}, "/v%202/a"),
        ({"url": "https://{host}/{v}", "variables": {"v": {"default": "v3"}}}, "/v3/a"),
        ({"url": "https://api.example"}, "/a"),
        ({"url": "http://["}, "/a"),
        ("none", "/a"),
    ],
)
def test_paths_begin_with_that_of_the_first_server(
    tmp_path: Path, server: object, path: str
) -> None:
    assert asked(tmp_path, "/a", servers=[server, {"url": "/other"}]) == path


def test_a_file_may_be_yaml(tmp_path: Path) -> None:
    file = tmp_path / "openapi.yaml"
    file.write_text("openapi: 3.1.0\nservers:\n- url: /v1\npaths:\n  /a:\n    get: {}\n")
    assert requests_from_openapi(file) == [RequestSpec(method="GET", path="/v1/a", name="GET /a")]
    file.write_text("paths: [\n")
    with pytest.raises(RequestSetError, match="expected the node content"):
        requests_from_openapi(file)


def test_without_pyyaml_it_is_said_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    file = tmp_path / "openapi.yaml"
    file.write_text("paths: {}\n")
    with pytest.raises(RequestSetError, match=r"shedproxy\[calibrate\]"):
        requests_from_openapi(file)
