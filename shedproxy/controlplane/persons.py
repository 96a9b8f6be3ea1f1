"""Who calls the control plane: persons with tokens and roles.

Of a token only its SHA-256 is known here: tokens are 256 random bits, which nobody finds by trying.
All that there are are compared, each in constant time. Without any token whoever can reach a
loopback address may do everything, and the audit says so.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shedproxy.errors import ConfigInvalidError, Problem
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
from shedproxy.settings import Role, TokenSettings

__all__ = ["ANYBODY", "OWNER", "Person", "Persons", "check_listener", "is_loopback", "new_token"]

_MAY: dict[str, frozenset[str]] = {
    "reader": frozenset(),
    "publisher": frozenset(("publish",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who calls."""

    name: str
    role: Role

    def may(self, verb: str) -> bool:
        """Whether this one may order that."""
        return self.role == "operator" or verb in _MAY[self.role]


ANYBODY = Person(name="anybody on this host", role="reader")
OWNER = Person(name="the user of the control plane", role="operator")
"""Or root: who has the key of orders."""


class Persons:
    """All who may call.

    Args:
        tokens: by name.
        key: good where there are none.
        wall: seconds since the epoch.
    """

    def __init__(
        self, tokens: Mapping[str, TokenSettings], key: OrderKey, wall: Callable[[], float]
    ) -> None:
        self._tokens = dict(tokens)
        self._key = key
        self._wall = wall

    def identify(
        self, headers: Mapping[str, str], peer: Peer, *, changes: bool
    ) -> Person | Refusal:
        """Who it is, or why it is nobody.

        Args:
            headers: of the request.
            peer: of its connection.
            changes: it asks for more than to look.
        """
        if changes and not is_own_page(headers):
            return NO_PAGES
        if changes and not is_json(headers):
            return NOT_JSON
        if not self._tokens:
            if self._key.is_shown(headers):
                return OWNER
            if not is_local_name(headers.get("host", "")):
                return REBOUND
            return _without_key(self._key, peer) if changes else ANYBODY
        shown = bearer(headers)
        if shown is None:
            return _refusal("send authorization: Bearer with your token")
        digest = hashlib.sha256(shown).hexdigest()
        found = [
            name
            for name, token in self._tokens.items()
            if hmac.compare_digest(digest, token.sha256)
        ]
        if not found:
            return _refusal("nobody has this token")
        until_s = self._tokens[found[0]].until_s
        if until_s and until_s <= self._wall():
            return _refusal(
                f"the token of {found[0]} was good until {self._tokens[found[0]].until}"
            )
        return Person(name=found[0], role=self._tokens[found[0]].role)


def _without_key(key: OrderKey, peer: Peer) -> Refusal:
    file = key.file(peer.address)
    if file:
        detail = (
            "orders are for the user of the control plane, and root: give them as that user, or"
            f" show its key (curl -H @{file}), or make a token for every person: shedproxy control"
            " token NAME"
        )
        return Refusal(status=401, title="Order key required", detail=detail, order_key=file)
    detail = (
        "this control plane takes no orders: there is no file for a key that its user alone can"
        f" read ({key.why}); make a token for every person: shedproxy control token NAME"
    )
    return Refusal(status=403, title="No order key", detail=detail)


def new_token() -> tuple[str, str]:
    """A token, and its SHA-256 for the file of the control plane."""
    token = secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()


def is_loopback(host: str) -> bool:
    """Whether nobody else than this host can reach that address."""
    name = host.removeprefix("[").removesuffix("]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_listener(listen: str, tokens: Mapping[str, TokenSettings]) -> None:
    """Refuse to be there for everybody.

    Raises:
        ConfigInvalidError: others can reach it, and there is no token.
    """
    host = listen.rpartition(":")[0]
    if not tokens and not is_loopback(host):
        raise ConfigInvalidError(
            [
                Problem(
                    message=f"other hosts can reach {listen}, and there is no token",
                    path=("listen",),
                    help="make one for every person: shedproxy control token NAME",
                )
            ]
        )


def _refusal(detail: str) -> Refusal:
    return Refusal(status=401, title="Token required", detail=detail)
