"""What pydantic found, in words that help: where it stands, what was expected, how to mend it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from shedproxy.errors import Problem
from shedproxy.settings.layers import Layer, locate
from shedproxy.settings.section import forms
from shedproxy.settings.shape import Path, home_of, model_at, nearest, subject

__all__ = ["at_path", "path_of", "translate"]


class _Words(NamedTuple):
    """What is said of one value. `predicate` follows its name in the headline."""

    predicate: str
    note: str = ""
    help: str = ""


def translate(error: ValidationError, layers: Sequence[Layer]) -> list[Problem]:
    """Every error of one validation as a problem, in the order of the file."""
    return [_translate_one(detail, layers) for detail in error.errors(include_url=False)]


def path_of(location: Sequence[int | str]) -> Path:
    """The path that an error of pydantic points at."""
    return tuple(str(part) for part in location if part != "[key]")


def at_path(
    layers: Sequence[Layer],
    path: Path,
    message: str,
    *,
    note: str = "",
    help_text: str = "",
    on_key: bool = False,
    severity: Literal["error", "warning", "hint"] = "error",
    beside: Path = (),
) -> Problem:
    """A problem with the value at `path`; the line of `beside` is shown too if it is close."""
    spot = locate(layers, path, on_key=on_key)
    excerpt = spot.excerpt
    if beside:
        other = locate(layers, beside)
        if other.source == spot.source and 0 < spot.line - other.line <= 3:
            excerpt = (*other.excerpt, *excerpt)
    return Problem(
        message=message,
        path=path,
        source=spot.source,
        line=spot.line,
        column=spot.column,
        length=spot.length,
        note=note,
        help=help_text,
        severity=severity,
        excerpt=excerpt,
    )


def _translate_one(detail: Mapping[str, Any], layers: Sequence[Layer]) -> Problem:
    kind, location = detail["type"], detail["loc"]
    path = path_of(location)
    if kind == "extra_forbidden":
        return _unknown_key(path, layers)
    on_key = bool(location) and location[-1] == "[key]"
    say = _SAYINGS.get(kind)
    context = detail.get("ctx", {})
    words = say(detail["input"], context, path) if say else _Words(f": {detail['msg']}")
    gap = "" if words.predicate.startswith(":") else " "
    if on_key and kind == "shedproxy":
        message = words.predicate.removeprefix(": ")
    elif on_key:
        message = f'"{path[-1]}" cannot be a name here'
    else:
        message = f"{subject(path)}{gap}{words.predicate}"
    return at_path(layers, path, message, note=words.note, help_text=words.help, on_key=on_key)


def _unknown_key(path: Path, layers: Sequence[Layer]) -> Problem:
    *parents, key = path
    model = model_at(tuple(parents))
    known = list(model.model_fields) if model else []
    near = nearest(key, known)
    where = f" in [{'.'.join(p for p in parents if not p.isdecimal())}]" if parents else ""
    if parents[:1] == ["rule"]:
        where = f" in rule {int(parents[1]) + 1}"
    note = help_text = ""
    if near:
        note = f'did you mean "{near}"?'
    else:
        home = home_of(key)
        note = f"it belongs in {home}" if home else "no such key here"
        help_text = f"known here: {', '.join(known)}"
    if key == "exempt":
        help_text = 'lane = "control" takes requests past admission'
    return at_path(
        layers, path, f'unknown key "{key}"{where}', note=note, help_text=help_text, on_key=True
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}..."'
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else str(value)


def _found(value: Any) -> str:
    if isinstance(value, str):
        return "this is text"
    return f"this is {_shown(value)}"


_Saying = Callable[[Any, Mapping[str, Any], Path], _Words]


def _say_integer(value: Any, _context: Mapping[str, Any], _path: Path) -> _Words:
    help_text = ""
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        help_text = f"without the quotes: {value}"
    return _Words("must be a whole number", _found(value), help_text)


def _say_number(value: Any, _context: Mapping[str, Any], _path: Path) -> _Words:
    help_text = ""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        help_text = f"without the quotes: {value}"
    elif isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?%", value):
        help_text = f"as a share of 1: {float(value[:-1]) / 100:g}"
    return _Words("must be a number", _found(value), help_text)


def _say_boolean(value: Any, _context: Mapping[str, Any], _path: Path) -> _Words:
    word = str(value).lower()
    yes, no = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
    help_text = "write true" if word in yes else "write false" if word in no else ""
    return _Words("must be true or false", _found(value), help_text)


def _say_text(value: Any, _context: Mapping[str, Any], _path: Path) -> _Words:
    is_plain = isinstance(value, int | float)
    return _Words(
        "must be text", _found(value), f'in quotes: "{_shown(value)}"' if is_plain else ""
    )


def _say_list(value: Any, _context: Mapping[str, Any], path: Path) -> _Words:
    help_text = f"in brackets: [{_shown(value)}]" if isinstance(value, str | int | float) else ""
    if path == ("rule",):
        help_text = "each rule is a table of its own, under [[rule]]"
    return _Words("must be a list", _found(value), help_text)


def _say_table(value: Any, _context: Mapping[str, Any], path: Path) -> _Words:
    model = model_at(path)
    help_text = f"its keys are {', '.join(model.model_fields)}" if model else ""
    return _Words("must be a table", _found(value), help_text)


def _say_choice(value: Any, context: Mapping[str, Any], _path: Path) -> _Words:
    allowed = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
    near = nearest(value, allowed) if isinstance(value, str) else ""
    note = f'did you mean "{near}"?' if near else ""
    if len(allowed) == 1:
        return _Words(f"must be {allowed[0]}", note)
    return _Words(
        f"must be one of {', '.join(allowed)}", note or f"{_shown(value)} is none of them"
    )


def _say_bound(word: str, key: str, relation: str) -> _Saying:
    def say(value: Any, context: Mapping[str, Any], _path: Path) -> _Words:
        return _Words(f"must be {word} {context[key]:g}", f"{_shown(value)} is {relation}")

    return say


def _say_length(value: Any, context: Mapping[str, Any], _path: Path) -> _Words:
    if "min_length" in context:
        return _Words("must not be empty")
    return _Words(f"must have at most {context['max_length']} entries", f"these are {len(value)}")


def _say_text_length(value: Any, context: Mapping[str, Any], _path: Path) -> _Words:
    if "min_length" in context:
        return _Words("must not be empty")
    return _Words(
        f"must have at most {context['max_length']} characters", f"these are {len(value)}"
    )


def _say_pattern(value: Any, context: Mapping[str, Any], _path: Path) -> _Words:
    return _Words(
        f": {_shown(value)} has another form", help=f"expected {forms[context['pattern']]}"
    )


def _say_ours(_value: Any, context: Mapping[str, Any], _path: Path) -> _Words:
    message = context["message"]
    predicate = message if message.startswith("must ") else f": {message}"
    return _Words(predicate, context.get("note", ""), context.get("help", ""))


_SAYINGS: dict[str, _Saying] = {
    "bool_type": _say_boolean,
    "dict_type": _say_table,
    "finite_number": _say_number,
    "float_type": _say_number,
    "greater_than": _say_bound("above", "gt", "not"),
    "greater_than_equal": _say_bound("at least", "ge", "less"),
    "int_from_float": _say_integer,
    "int_type": _say_integer,
    "less_than_equal": _say_bound("at most", "le", "more"),
    "list_type": _say_list,
    "literal_error": _say_choice,
    "model_attributes_type": _say_table,
    "model_type": _say_table,
    "shedproxy": _say_ours,
    "string_pattern_mismatch": _say_pattern,
    "string_too_long": _say_text_length,
    "string_too_short": _say_text_length,
    "string_type": _say_text,
    "too_long": _say_length,
    "too_short": _say_length,
}
