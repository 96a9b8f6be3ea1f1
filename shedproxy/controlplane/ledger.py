r"""The one state of a fleet, as numbered objects that are made once and never written over.

    ledger/000000000042     an entry: who did what, when and why, and the digest of the one before
                            the fleet from then on, whole
    audit/000000000000      the entries of 64 revisions, once their fleets are of no use any more

A revision is there or not, and only one of all who try can make the next one: that is all that the
store is asked for (put if absent), and all that keeps two control planes from writing over each
other. Whoever is killed between two operations leaves either nothing or a whole revision; a page of
the audit is the same bytes whoever makes it, and what it replaces is removed only after it is
there. Entries hold the SHA-256 of the entry before, so that a line that was changed or taken out
shows. Nothing here waits, measures time or decides.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from shedproxy.controlplane.fleet import Fleet
from shedproxy.errors import DocumentInvalidError, ShedproxyError
from shedproxy.snapshot import carry_over, from_plain, to_plain, unknown_fields

__all__ = ["PAGE", "Act", "Entry", "Head", "Ledger", "LedgerDamagedError", "Objects"]

PAGE = 64
"""Revisions on a page of the audit; so many of the newest stay whole."""
LEDGER_SCHEMA = 1
"""Of what is written. One newer is read as well; what is not known here is kept as it is."""
_SIZE_MAX = 16 << 20
_FORMAT = "shedproxy-ledger"
_NUMBERED = re.compile(r"(?:ledger|audit)/([0-9]{12,})")
_EDITION = re.compile(r"editions/([0-9]+)-[0-9a-f]+")


class LedgerDamagedError(ShedproxyError):
    """Something in the store is not what was put there. Nothing is decided on it."""


class Objects(Protocol):
    """What is asked of the store; `shedproxy.store.ObjectStore` is one."""

    async def get(self, name: str, size_max: int) -> bytes:
        """The object; FileNotFoundError: there is none."""

    async def put(self, name: str, data: bytes) -> None:
        """Make it, or replace it."""

    async def create(self, name: str, data: bytes) -> bool:
        """Make it; False: there is one."""

    async def delete(self, name: str) -> None:
        """Remove it, if it is there."""

    async def names(self, prefix: str = "") -> list[str]:
        """Of all objects in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody did, or was not let do."""

    id: str
    """Unlike all others."""
    at_s: float
    who: str
    verb: str
    why: str = ""
    refusal: str = ""
    """Why it was not done; "": it was."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the audit."""

    revision: int
    act: Act
    before: str
    """SHA-256 of the line before."""
    line: bytes

    @property
    def digest(self) -> str:
        """Of the line."""
        return hashlib.sha256(self.line).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest revision."""

    revision: int = 0
    digest: str = ""
    """Of its entry."""
    at_s: float = 0.0
    """When it was made, by the clock of who made it."""
    fleet: Fleet = field(default_factory=Fleet)
    raw: dict[str, Any] | None = field(default=None, compare=False, repr=False)
    """The fleet as a newer version wrote it, with what is not known here; None: all is known."""


class Ledger:
    """Reads and makes revisions. Every call raises OSError when the store fails.

    Args:
        store: where they are.
        page: revisions on a page of the audit.
    """

    def __init__(self, store: Objects, *, page: int = PAGE) -> None:
        self._store = store
        self._page = page

    async def head(self, *, known: Head | None = None) -> Head | None:
        """The newest revision; None: there is none at all.

        Args:
            known: a revision that was read before, so that it is not read again.

        Raises:
            LedgerDamagedError: it is not what was put there.
        """
        while True:
            revisions = await self._revisions()
            if not revisions:
                return None
            if known is not None and known.revision == revisions[-1]:
                return known
            try:
                data = await self._store.get(_name(revisions[-1]), _SIZE_MAX)
            except FileNotFoundError:
                continue  # it was compacted meanwhile, so that there is a newer one
            return _read_head(data, revisions[-1])

    async def append(self, head: Head | None, act: Act, fleet: Fleet) -> Head | None:
        """Make the revision after `head`; None: somebody else was faster, and this is not done.

        An error of the store that leaves open whether it is there is looked into; when that fails
        too, OSError says so, and `entries` will tell.

        Args:
            head: what the fleet was made from; None for the first revision.
            act: what was done.
            fleet: as it is from now on.
        """
        before = Head() if head is None else head
        revision = before.revision + 1
        plain, raw = to_plain(fleet), None
        if before.raw is not None:
            plain = raw = carry_over(before.raw, to_plain(before.fleet), plain)
        state = json.dumps(plain, separators=(",", ":")).encode()
        line = _entry_line(revision, act, before.digest, hashlib.sha256(state).hexdigest())
        data = b"%s\n%s\n" % (line, state)
        if len(data) > _SIZE_MAX:
            raise OSError(f"revision {revision} would have {len(data)} bytes: {_SIZE_MAX} at most")
        try:
            _read_head(data, revision)
        except LedgerDamagedError as error:
            # Whoever starts next would stand before it for ever.
            raise OSError(f"not written, as nobody could read it: {error}") from error
        failure: OSError | None = None
        try:
            is_ours = await self._store.create(_name(revision), data)
        except OSError as error:
            is_ours, failure = False, error
        try:
            is_ours = is_ours or await self._is(revision, data)
            is_past = is_ours and await self._is_past(revision, line)
        except OSError as error:
            raise OSError(
                f"{error}; whether revision {revision} is there nobody knows yet:"
                " shedproxy control audit says so when the store is back"
            ) from error
        if failure is not None and not is_ours:
            raise failure
        if not is_ours or is_past:
            return None
        digest = hashlib.sha256(line).hexdigest()
        return Head(revision=revision, digest=digest, at_s=act.at_s, fleet=fleet, raw=raw)

    async def compact(self, head: Head) -> None:
        """Put old entries on pages, and remove what only old fleets need. Safe at any time."""
        revisions = await self._revisions()
        done = set(await self._numbers("audit"))
        last = (head.revision - self._page) // self._page
        first = revisions[0] if revisions else 1
        for page in range((first - 1) // self._page, last):
            numbers = range(page * self._page + 1, (page + 1) * self._page + 1)
            if page not in done:
                try:
                    lines = [(await self._entry(number)).line for number in numbers]
                except FileNotFoundError:
                    return  # somebody else is at it
                await self._store.create(_page_name(page), b"\n".join(lines) + b"\n")
            for number in numbers:
                if number in revisions:
                    await self._store.delete(_name(number))
        await self._forget_editions(head)

    async def entries(self, first: int = 1) -> list[Entry]:
        """Every entry from a revision on, in order.

        Raises:
            LedgerDamagedError: one is missing, or is not the one that was put there.
        """
        # In this order: what was on no page when revisions were listed is listed with them.
        revisions = await self._revisions()
        pages = await self._numbers("audit")
        found: list[Entry] = []
        for page in pages:
            if (page + 1) * self._page >= first:
                lines = (await self._store.get(_page_name(page), _SIZE_MAX)).splitlines()
                found += (_read_entry(line) for line in lines)
        known = len(pages) * self._page
        for revision in revisions:
            if revision > known and revision >= first:
                try:
                    found.append(await self._entry(revision))
                except FileNotFoundError:
                    return await self.entries(first)  # it is on a page by now
        _check_chain(found)
        return [entry for entry in found if entry.revision >= first]

    async def _revisions(self) -> list[int]:
        return await self._numbers("ledger")

    async def _numbers(self, folder: str) -> list[int]:
        """Of the objects of ours in a folder; what else is there (file systems leave things of
        their own, and pages of object stores make folders) is nobody's business.
        """
        found = (_NUMBERED.fullmatch(name) for name in await self._store.names(folder))
        return sorted(int(each[1]) for each in found if each is not None)

    async def _entry(self, revision: int) -> Entry:
        data = await self._store.get(_name(revision), _SIZE_MAX)
        return _read_entry(data.partition(b"\n")[0])

    async def _is(self, revision: int, data: bytes) -> bool:
        try:
            return await self._store.get(_name(revision), len(data)) == data
        except FileNotFoundError:
            return False

    async def _is_past(self, revision: int, line: bytes) -> bool:
        """Whether the revision was there long before, and its name only free because it is on a
        page by now: whoever stood still that long has made nothing.
        """
        try:
            page = await self._store.get(_page_name((revision - 1) // self._page), _SIZE_MAX)
        except FileNotFoundError:
            return False
        return line not in page.splitlines()

    async def _forget_editions(self, head: Head) -> None:
        """Those that the fleet has no more; young ones may be of a revision that is being made."""
        needed = {each.object_name for each in head.fleet.editions}
        for name in await self._store.names("editions"):
            found = _EDITION.fullmatch(name)
            if found is None or name in needed:
                continue
            if int(found[1]) + self._page <= head.revision:
                await self._store.delete(name)


def _name(revision: int) -> str:
    return f"ledger/{revision:012d}"


def _page_name(page: int) -> str:
    return f"audit/{page:012d}"


def _entry_line(revision: int, act: Act, before: str, state: str) -> bytes:
    plain = {
        "format": _FORMAT,
        "schema": LEDGER_SCHEMA,
        "revision": revision,
        "before": before,
        "state": state,
        "id": act.id,
        "at_s": act.at_s,
        "who": act.who,
        "verb": act.verb,
        "why": act.why,
        "refusal": act.refusal,
        "facts": dict(act.facts),
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def _read_object(line: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(line)
    except ValueError as error:
        raise LedgerDamagedError(f"an entry of the ledger is no JSON: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != _FORMAT:
        raise LedgerDamagedError("an entry of the ledger is something else")
    if plain["schema"] > LEDGER_SCHEMA + 1:
        raise LedgerDamagedError(
            f"the ledger has schema {plain['schema']}, newer than this version understands"
            f" ({LEDGER_SCHEMA + 1}): upgrade shedproxy here first"
        )
    return plain


def _read_entry(line: bytes) -> Entry:
    plain = _read_object(line)
    names = ("id", "at_s", "who", "verb", "why", "refusal", "facts")
    act = Act(**{name: plain[name] for name in names})
    return Entry(revision=plain["revision"], act=act, before=plain["before"], line=line)


def _read_head(data: bytes, revision: int) -> Head:
    line, _, rest = data.partition(b"\n")
    state = rest.removesuffix(b"\n")
    plain = _read_object(line)
    if plain["revision"] != revision or plain["state"] != hashlib.sha256(state).hexdigest():
        raise LedgerDamagedError(f"revision {revision} of the ledger is damaged")
    try:
        raw = json.loads(state)
        fleet = from_plain(Fleet, raw)
    except DocumentInvalidError as error:
        raise LedgerDamagedError(f"revision {revision} of the ledger: {error}") from error
    is_known = not any(unknown_fields(raw, to_plain(fleet)))
    digest = hashlib.sha256(line).hexdigest()
    return Head(
        revision=revision,
        digest=digest,
        at_s=plain["at_s"],
        fleet=fleet,
        raw=None if is_known else raw,
    )


def _check_chain(entries: list[Entry]) -> None:
    for before, entry in itertools.pairwise(entries):
        if entry.revision != before.revision + 1:
            raise LedgerDamagedError(
                f"the audit has no revision {before.revision + 1}: after {before.revision} comes"
                f" {entry.revision}"
            )
        if entry.before != before.digest:
            raise LedgerDamagedError(f"revision {before.revision} of the audit was changed")
