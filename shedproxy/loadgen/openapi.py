"""Requests of an OpenAPI file: every operation that only reads and whose parameters are known.

A parameter is known by an example, a default or the first of its allowed values, wherever versions
3.0 and 3.1 have them: its own or its schema's. What is optional and not known is left out. Paths
begin with that of the first server, as they do for every other client. Files are JSON, or YAML
where PyYAML is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from shedproxy.loadgen.requests import RequestSetError, RequestSpec

__all__ = ["requests_from_openapi"]

_READS = ("get", "head")
_REFERENCES_MAX = 8
_OF_PATHS = "/:@!$&'()*+,;=%"
"""What stands for itself in a path (RFC 3986, 3.3); what was encoded stays so."""

_Object = Mapping[str, Any]


def requests_from_openapi(path: Path) -> list[RequestSpec]:
    """A request for each such operation; results call it by its template.

    Raises:
        RequestSetError: neither JSON nor YAML, or no such operation.
    """
    document = _read(path)
    base = _base(document)
    found = []
    for template, operations in _object(_object(document).get("paths")).items():
        for method in _READS:
            operation = _object(operations).get(method)
            if isinstance(operation, dict):
                shared = _object(operations).get("parameters")
                target = _target(template, document, shared, operation.get("parameters"))
                if target is not None:
                    name = f"{method.upper()} {template}"
                    found.append(RequestSpec(method=method.upper(), path=base + target, name=name))
    if not found:
        raise RequestSetError(f"{path}: no operation that reads and whose parameters are known")
    return found


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            return json.loads(text)
    except UnicodeDecodeError as error:
        raise RequestSetError(f"{path}: it is not UTF-8 text") from error
    except OSError as error:
        raise RequestSetError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RequestSetError(f"{path}: {error}") from error
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError:
        raise RequestSetError(
            f"{path} is not JSON, and to read YAML takes: pip install 'shedproxy[calibrate]'"
        ) from None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RequestSetError(f"{path}: {error}") from error


def _base(document: Any) -> str:
    """The path of the first server, with the defaults of its variables."""
    servers = _object(document).get("servers")
    server = _object(servers[0]) if isinstance(servers, list) and servers else {}
    url = str(server.get("url", ""))
    for name, variable in _object(server.get("variables")).items():
        url = url.replace("{" + str(name) + "}", str(_object(variable).get("default", "")))
    try:
        base = urlsplit(url).path.rstrip("/")
    except ValueError:
        return ""
    return quote("/" + base.lstrip("/"), safe=_OF_PATHS) if base else ""


def _target(template: str, document: _Object, *lists: Any) -> str | None:
    """Path and query; None where something that has to be said is not known."""
    # Those of the operation take the place of those that all of the path have.
    parameters = {
        (each.get("in"), each.get("name")): each
        for parameters in lists
        for each in (_followed(one, document) for one in parameters or ())
    }
    query = []
    for (where, name), parameter in parameters.items():
        value = next(_known(parameter, document), None)
        if where == "path" and value is not None:
            template = template.replace("{" + str(name) + "}", _text(value))
        elif where == "query" and value is not None:
            values = value if isinstance(value, list) else [value]
            query += [f"{quote(str(name))}={_text(each)}" for each in values]
        elif parameter.get("required"):
            return None
    if "{" in template:
        return None
    return quote(template, safe=_OF_PATHS) + ("?" + "&".join(query) if query else "")


def _known(parameter: _Object, document: _Object) -> Iterator[Any]:
    """Values that it may have, the likeliest first."""
    schema = _followed(parameter.get("schema"), document)
    examples = _object(parameter.get("examples")).values()
    found = [
        parameter.get("example"),
        *(_followed(example, document).get("value") for example in examples),
        schema.get("example"),
        *(schema.get("examples") or ()),
        schema.get("default"),
        *(schema.get("enum") or ()),
    ]
    return (value for value in found if value is not None and not isinstance(value, dict))


def _followed(value: Any, document: _Object) -> _Object:
    """The object, or the one that it refers to in the same document; empty if there is none."""
    for _ in range(_REFERENCES_MAX):
        reference = _object(value).get("$ref")
        if not isinstance(reference, str):
            return _object(value)
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = _object(value).get(part.replace("~1", "/").replace("~0", "~"))
    return {}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return quote(json.dumps(value) if isinstance(value, bool) else str(value), safe="")


def _object(value: Any) -> _Object:
    return value if isinstance(value, dict) else {}
