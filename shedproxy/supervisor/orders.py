"""What an operator can ask of a running instance, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shedproxy.core import Mode, Nanos, seconds
from shedproxy.errors import ShedproxyError
from shedproxy.settings.quantities import parse_duration, show_duration

__all__ = ["HostOrder", "ModeOrder", "OrderInvalidError", "ZoneOrder"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOrder:
    """Take a host out by hand for a while, put it back, or write a bullet off."""

    action: str
    host: str = ""
    cell: str = ""
    """"" means every cell that has the host."""
    length: Nanos = OVERRIDE_DEFAULT
    serial: int = 0
    """Of the bullet to be written off."""

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> HostOrder:
        """Read `{"action": "drain", "host": "http://h:1", "for": "10m"}`, or
        `{"action": "forgive", "serial": 7}`; OrderInvalidError names the place.
        """
        action = content.get("action")
        known = {
            "drain": {"action", "host", "cell", "for"},
            "undrain": {"action", "host", "cell"},
            "forgive": {"action", "serial"},
        }
        if not isinstance(action, str) or action not in known:
            raise OrderInvalidError(
                "/action", f"action is {action!r}; must be one of {', '.join(known)}"
            )
        unknown = set(content) - known[action]
        if unknown:
            name = min(unknown)
            raise OrderInvalidError(
                f"/{name}", f"unknown key {name!r}; known: {', '.join(sorted(known[action]))}"
            )
        serial = content.get("serial", 0)
        if action == "forgive" and (type(serial) is not int or serial < 1):
            raise OrderInvalidError("/serial", f"{serial!r} is no serial of a bullet")
        host, cell = content.get("host", ""), content.get("cell", "")
        if action != "forgive" and (not isinstance(host, str) or not host):
            raise OrderInvalidError("/host", "give the URL of an upstream")
        if not isinstance(cell, str):
            raise OrderInvalidError("/cell", f"{cell!r} is no name of a cell")
        length = _parse_length(content["for"]) if "for" in content else OVERRIDE_DEFAULT
        if not seconds(1) <= length <= OVERRIDE_MAX:
            raise OrderInvalidError("/for", "a drain lasts at least 1s and at most 7d")
        return cls(action=action, host=host, cell=cell, length=length, serial=serial)

    def facts(self) -> dict[str, Any]:
        """What the log says of it."""
        if self.action == "forgive":
            return {"serial": self.serial}
        facts: dict[str, Any] = {"upstream": self.host, "cell": self.cell or "all"}
        return {**facts, "for": show_duration(self.length)} if self.action == "drain" else facts


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneOrder:
    """Weigh a zone away for a while, or take it back."""

    zone: str
    is_away: bool
    length: Nanos = OVERRIDE_DEFAULT

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> ZoneOrder:
        """Read `{"zone": "b", "away": true, "for": "30m"}`; OrderInvalidError names the place."""
        unknown = set(content) - {"zone", "away", "for"}
        if unknown:
            name = min(unknown)
            raise OrderInvalidError(f"/{name}", f"unknown key {name!r}; known: zone, away, for")
        zone, is_away = content.get("zone"), content.get("away")
        if not isinstance(zone, str) or not zone:
            raise OrderInvalidError("/zone", f"{zone!r} is no name of a zone")
        if not isinstance(is_away, bool):
            raise OrderInvalidError("/away", f"away is {is_away!r}; must be true or false")
        length = _parse_length(content["for"]) if "for" in content else OVERRIDE_DEFAULT
        if not seconds(1) <= length <= OVERRIDE_MAX:
            raise OrderInvalidError("/for", "a shift lasts at least 1s and at most 7d")
        return cls(zone=zone, is_away=is_away, length=length)


def _parse_length(text: object) -> Nanos:
    try:
        return parse_duration(text) if isinstance(text, str) else parse_duration("")
    except ValueError as error:
        raise OrderInvalidError("/for", f"{text!r} is no length of time: {error}") from None
