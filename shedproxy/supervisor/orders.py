"""What an operator can ask of a running instance, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shedproxy.core import Mode, Nanos, seconds
from shedproxy.errors import ShedproxyError
from shedproxy.settings.quantities import parse_duration

__all__ = ["ModeOrder", "OrderInvalidError"]

OVERRIDE_DEFAULT = seconds(3600)
OVERRIDE_MAX = seconds(7 * 86_400)


class OrderInvalidError(ShedproxyError):
    """A request to the control listener that makes no sense; `place` says where."""

    def __init__(self, place: str, message: str) -> None:
        self.place = place
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeOrder:
    """Put a mode in force for a while; None: back to the configured one."""

    mode: Mode | None
    length: Nanos = OVERRIDE_DEFAULT

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> ModeOrder:
        """Read `{"mode": "observe", "for": "10m"}`; OrderInvalidError names the place."""
        unknown = set(content) - {"mode", "for"}
        if unknown:
            name = min(unknown)
            raise OrderInvalidError(f"/{name}", f"unknown key {name!r}; known: mode, for")
        word = content.get("mode")
        modes = {mode.label: mode for mode in Mode}
        if not isinstance(word, str) or word not in {*modes, "configured"}:
            known = ", ".join([*modes, "configured"])
            raise OrderInvalidError("/mode", f"mode is {word!r}; must be one of {known}")
        length = OVERRIDE_DEFAULT
        if "for" in content:
            length = _parse_length(content["for"])
        if not seconds(1) <= length <= OVERRIDE_MAX:
            raise OrderInvalidError("/for", "an override lasts at least 1s and at most 7d")
        return cls(mode=modes.get(word), length=length)


def _parse_length(text: object) -> Nanos:
    try:
        return parse_duration(text) if isinstance(text, str) else parse_duration("")
    except ValueError as error:
        raise OrderInvalidError("/for", f"{text!r} is no length of time: {error}") from None
