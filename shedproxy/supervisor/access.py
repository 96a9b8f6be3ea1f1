"""Who may do what at the control listener. Decides on a request's head; no answer is made here.

Whoever reaches a loopback address or a unix socket is on this host and may read; others show a
token, also to read. Orders are for the token. Where none is set, they are for the user of this
process and root: through a unix socket the kernel says who calls, on a loopback address callers
show a key that only these two can read (`listening/order_key`).

Web pages are the exception to "on this host": a browser sends their requests from here. Pages of
other origins may change nothing, and a page whose name was pointed at this host (DNS rebinding) is
told apart by the Host that it must send.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shedproxy.listening import (
    NO_PAGES,
    NOT_JSON,
    REBOUND,
    OrderKey,
    Peer,
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
    key: OrderKey
    """What is as good as the token, where there is none."""

    def refuse_read(self, headers: Mapping[str, str]) -> Refusal | None:
        """Why this caller may not see anything but health; None: it may."""
        tokens = (self.token(), self.read_token())
        if _shows_one_of(headers, tokens):
            return None
        if self.needs_token:
            return _missing(tokens, "control.token_file or control.read_token_file")
        return None if is_local_name(headers.get("host", "")) else REBOUND

    def refuse_change(self, headers: Mapping[str, str], peer: Peer) -> Refusal | None:
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
        if self.key.is_shown(headers):
            return None
        if not is_local_name(headers.get("host", "")):
            return REBOUND
        if peer.user is None:
            return self._without_key(peer)
        return None if peer.user in {0, os.geteuid()} else _NOT_OWNER

    def _without_key(self, peer: Peer) -> Refusal:
        file = self.key.file(peer.address)
        if file:
            detail = (
                "orders are for the user of this proxy, and root: give them as that user by"
                f" commands like shedproxy mode, or show its key (curl -H @{file}), or set"
                " control.token_file for others"
            )
            return Refusal(status=401, title="Order key required", detail=detail, order_key=file)
        detail = (
            "this proxy takes no orders: there is no file for a key that its user alone can read"
            f" ({self.key.why}); set control.token_file, or XDG_RUNTIME_DIR to a folder of its user"
        )
        return Refusal(status=403, title="No order key", detail=detail)


_NOT_OWNER = Refusal(
    status=403,
    title="Not the user of this proxy",
    detail="through this socket orders are for the user of this proxy, and root; set"
    " control.token_file for others",
)


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


def access_by(settings: Callable[[], ControlSettings], *, is_public: bool, key: OrderKey) -> Access:
    """Access by the tokens in the files that the settings name; they are read when they are needed.

    Args:
        settings: gives those in force.
        is_public: other hosts can reach the listener.
        key: good while the settings name no token.
    """
    return Access(
        token=lambda: _read_token(settings().token_file),
        read_token=lambda: _read_token(settings().read_token_file),
        needs_token=is_public,
        key=key,
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
