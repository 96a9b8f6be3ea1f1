"""Who may do what at the control listener. Decides on a request's head; no answer is made here.

Whoever reaches a loopback address or a unix socket is on this host and may read; others show a
token, also to read. Web pages are the exception to "on this host": a browser sends their requests
from here. Pages of other origins may change nothing, and a page whose name was pointed at this host
(DNS rebinding) is told apart by the Host that it must send.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shedproxy.listening import (
    NO_PAGES,
    NOT_JSON,
    REBOUND,
    Refusal,
    bearer,
    is_json,
    is_local_name,
    is_own_page,
)
from shedproxy.settings import ControlSettings

__all__ = ["Access", "access_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What is asked of callers. Tokens are read when needed, so that they can be rotated."""

    token: Callable[[], str]
    """The token that may do everything ("": none)."""
    read_token: Callable[[], str] = str
    """A token that may read only ("": none)."""
    needs_token: bool
    """True when others than this host can reach the listener."""

    def refuse_read(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why this caller may not see anything but health; None: it may."""
        tokens = (self.token(), self.read_token())
        if _shows_one_of(headers, tokens):
            return None
        if self.needs_token:
            return _missing(tokens, "control.token_file or control.read_token_file")
        return None if is_local_name(headers.get("host", "")) else REBOUND

    def refuse_change(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why this caller may not change anything; None: it may."""
        if not is_own_page(headers):
            return NO_PAGES
        if not is_json(headers):
            return NOT_JSON
        tokens = (self.token(),)
        if _shows_one_of(headers, tokens):
            return None
        if self.needs_token or tokens != ("",):
            return _missing(tokens, "control.token_file")
        return None if is_local_name(headers.get("host", "")) else REBOUND


def _shows_one_of(headers: Mapping[str, str], tokens: tuple[str, ...]) -> bool:
    shown = bearer(headers)
    if shown is None:
        return False
    # All are compared, whatever the first says, and each in constant time.
    equal = [bool(token) and hmac.compare_digest(shown, token.encode()) for token in tokens]
    return any(equal)


def _missing(tokens: tuple[str, ...], setting: str) -> Refusal:
    if any(tokens):
        detail = f"send authorization: Bearer with the content of {setting}"
        return Refusal(status=401, title="Token required", detail=detail)
    detail = f"this listener is reachable from other hosts; set {setting} to allow this through it"
    return Refusal(status=403, title="No token configured", detail=detail)


def access_by(settings: Callable[[], ControlSettings], *, is_public: bool) -> Access:
    """Access by the tokens in the files that the settings name; they are read when they are needed.

    Args:
        settings: gives those in force.
        is_public: other hosts can reach the listener.
    """
    return Access(
        token=lambda: _read_token(settings().token_file),
        read_token=lambda: _read_token(settings().read_token_file),
        needs_token=is_public,
    )


def _read_token(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip() or _NO_TOKEN
    except (OSError, ValueError):
        return _NO_TOKEN  # an unreadable token must not open the door


_NO_TOKEN = secrets.token_urlsafe(32)
"""Stands for a token that cannot be read: nobody has it."""
