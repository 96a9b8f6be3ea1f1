"""What all tables of the settings have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["CellName", "ClassLimits", "CriticalityName", "Section", "form", "forms", "preset"]

CriticalityName = Literal["critical_plus", "critical", "sheddable_plus", "sheddable"]
"""From the most to the least important."""


class Section(BaseModel):
    """One table: unknown keys and values of another type are errors, nothing is converted."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


def preset(value: Any, **bounds: Any) -> Any:
    """A default as a user would write it (`"10s"`), with bounds; checked and converted like theirs.

    Returns Any because the attribute has the converted type.
    """
    return Field(value, **bounds)


forms: dict[str, str] = {}
"""What people are told about a pattern that their text does not match."""


def form(pattern: str, expected: str) -> StringConstraints:
    """A pattern for the whole of a text, and the words for it."""
    forms[pattern] = expected
    return StringConstraints(pattern=pattern)


CellName = Annotated[
    str,
    form(r"^[a-z0-9][a-z0-9_-]{0,62}$", "a to z, 0 to 9, - and _, at most 63, first no sign"),
]
"""Part of metrics' labels and of names of variables."""


class ClassLimits(Section):
    """Most requests in flight per class and cell; 0 refuses the whole class."""

    critical_plus: int | None = preset(None, ge=0, examples=[100])
    critical: int | None = preset(None, ge=0, examples=[100])
    sheddable_plus: int | None = preset(None, ge=0, examples=[100])
    sheddable: int | None = preset(None, ge=0, examples=[100])
