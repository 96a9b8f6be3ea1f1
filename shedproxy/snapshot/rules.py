"""Which rule takes a request: paths brought to one spelling, globs compiled once, first match wins.

A request must not dodge a rule by spelling its path in another way, so paths are normalised before
they are compared, and every comparison but that of the method ignores case: `/Checkout` may well
reach the handler of `/checkout`. Ignoring too much merges two paths of one service at worst;
ignoring too little hands out a free lane.

Patterns of paths: `*` is one segment or a part of one (`/v*/users`, `/users/*`), `**` as a whole
segment is any number of segments, none included, and `{name}` and `{name:path}` mean the same two
(a route of the framework can be pasted). In hosts and header values `*` is any run of characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from shedproxy.snapshot.document import CONTROL_PATHS, Match, Rule

__all__ = [
    "UNDECIDED",
    "RuleTable",
    "normalise_path",
    "path_readings",
    "path_segments",
    "unreachable",
]

_ODD = re.compile(rb"[%;?#\\]|//|/\.|.\Z(?<=/)")
_ESCAPED_SLASH = re.compile(rb"%2[Ff]|%5[Cc]|\\")
_NO_NAMES = frozenset((b"", b"."))
_TEMPLATE = re.compile(r"\{[^/{}]*\}")
_CONTROL_METHODS = frozenset(("GET", "HEAD"))
_ANY_PATH: Final = "/.*"
_STAR: Final = r"\*|/[^/]*"
"""Regexes of `/**` and `*`."""

UNDECIDED: Final = -2
"""Host or headers have to be seen."""


def path_readings(raw: bytes) -> tuple[str, ...]:
    r"""What a service may take a path for: its one spelling, or several where that is left open.

    RFC 3986 resolves `/search/../checkout` to `/checkout`; many routers do not, and serve it as
    `/search/...`. Some take `%2f` and `\\` for a slash, some for a character of a segment. Who
    sends such a path may mean any of these, so it must not pass for the best one.
    """
    if raw.startswith(b"/") and _ODD.search(raw) is None:
        return (raw.decode("utf-8", "surrogateescape"),)
    if b".." not in raw and b"%" not in raw and b"\\" not in raw:
        return (normalise_path(raw),)
    readings = _both_readings(raw)
    if _ESCAPED_SLASH.search(raw):
        # No rule tells one odd character of a segment from another.
        readings += _both_readings(_ESCAPED_SLASH.sub(b"%ff", raw))
    return tuple(dict.fromkeys(readings))


def _both_readings(raw: bytes) -> list[str]:
    """With `..` resolved and without."""
    names = _names(_without_authority(raw))
    return [_join(names), _join(names, keeps_dots=True)]


def normalise_path(raw: bytes, *, keeps_dots: bool = False) -> str:
    r"""The path of a request target in the one spelling that rules see; never raises.

    Query and fragment go, percent escapes are decoded once (invalid ones stay as they are), `;`
    parameters of each segment go, `\` becomes `/` (as URL parsers of browsers and Node have it),
    `//` collapses, `.` and `..` are resolved (`keeps_dots`: not `..`), a slash at the end goes.
    Case stays. An absolute target loses scheme and authority; `*` (OPTIONS) stays. Bytes
    that are not UTF-8 become lone surrogates, so that two different paths stay different.
    """
    if raw == b"*":
        return "*"
    raw = _without_authority(raw)
    if _ODD.search(raw) is None:
        return raw.decode("utf-8", "surrogateescape")
    return _join(_names(raw), keeps_dots=keeps_dots)


def _without_authority(raw: bytes) -> bytes:
    if raw.startswith(b"/"):
        return raw
    scheme, colon, rest = raw.partition(b"://")
    if colon and b"/" not in scheme:
        slash = rest.find(b"/")
        return rest[slash:] if slash >= 0 else b"/"
    return b"/" + raw


def _names(raw: bytes) -> list[bytes]:
    """The segments of a path: decoded, without parameters, `.` and empty ones."""
    path = unquote_to_bytes(raw.partition(b"?")[0].partition(b"#")[0]).replace(b"\\", b"/")
    names = [segment.partition(b";")[0] for segment in path.split(b"/")]
    return [name for name in names if name not in _NO_NAMES]


def _join(names: list[bytes], *, keeps_dots: bool = False) -> str:
    if not keeps_dots and b".." in names:
        kept: list[bytes] = []
        for name in names:
            if name != b"..":
                kept.append(name)
            elif kept:
                kept.pop()
        names = kept
    return "/" + b"/".join(names).decode("utf-8", "surrogateescape")


def path_segments(pattern: str) -> tuple[str, ...]:
    """The segments of a path pattern: templates as globs, empty segments gone, lower case."""
    segments: list[str] = []
    for segment in pattern.split("/"):
        if segment.startswith("{") and segment.endswith(":path}"):
            segments.append("**")
        elif segment:
            glob = _TEMPLATE.sub("*", segment)
            segments.append(glob if glob == "**" else re.sub(r"\*+", "*", glob).lower())
    return tuple(segments)


class RuleTable:
    """The rules of a document, compiled. `match` is what it is for.

    A caller that wants to remember answers by (method, path) keeps `candidates` and asks `choose`
    per request; when `needs_more` is false for the candidates, the first of them is the answer.
    """

    def __init__(self, rules: Sequence[Rule], control_paths: Iterable[str] = CONTROL_PATHS) -> None:
        self._rows = tuple(_Row(rule.match) for rule in rules)
        self._control = frozenset(path.encode() for path in control_paths)
        self._control_size_max = max(map(len, self._control), default=0)
        self.header_names = frozenset(name for row in self._rows for name, _ in row.headers)
        """Lower-case names of the headers that some rule reads."""
        self.needs_host = any(row.host is not None for row in self._rows)
        """Some rule reads the host."""
        self.reads_paths = any(row.path is not None for row in self._rows)
        """Some rule tells one path that begins with a slash from another."""
        self.methods = frozenset(method for row in self._rows for method in row.methods)
        """Methods that some rule names; all others are the same to all rules."""

    def match(self, method: str, path: str, host: str, header: Callable[[str], str | None]) -> int:
        """Index of the first rule that takes the request, or -1.

        `path` comes from `normalise_path`; `host` may carry a port; `header` gives the value of a
        lower-case name, or None.
        """
        for index, row in enumerate(self._rows):
            if row.takes_path(method, path) and (not row.needs_more or row.takes(host, header)):
                return index
        return -1

    def settled(self, method: str, path: str) -> int:
        """The rule that method and path decide alone, -1 for none; or UNDECIDED."""
        for index, row in enumerate(self._rows):
            if row.takes_path(method, path):
                return UNDECIDED if row.needs_more else index
        return -1

    def candidates(self, method: str, path: str) -> tuple[int, ...]:
        """Rules that may take the request by method and path, in order.

        Ends with the first rule that needs to see nothing else, because none after it has a turn.
        """
        found: list[int] = []
        for index, row in enumerate(self._rows):
            if row.takes_path(method, path):
                found.append(index)
                if not row.needs_more:
                    break
        return tuple(found)

    def choose(
        self, candidates: Sequence[int], host: str, header: Callable[[str], str | None]
    ) -> int:
        """The one of `candidates` that takes the request, by host and headers; or -1."""
        for index in candidates:
            row = self._rows[index]
            if not row.needs_more or row.takes(host, header):
                return index
        return -1

    def needs_more(self, candidates: Sequence[int]) -> bool:
        """Whether host or headers decide between the candidates."""
        return bool(candidates) and self._rows[candidates[0]].needs_more

    def is_control(self, method: str, raw_path: bytes) -> bool:
        """Whether this is a control route of the service: exact raw path, GET and HEAD only.

        Nothing is normalised here: `/healthz/../api` must not ride in the free lane.
        """
        return (
            len(raw_path) <= self._control_size_max  # a longer one is not worth a hash
            and raw_path in self._control
            and method in _CONTROL_METHODS
        )


class _Row:
    """One rule's match, compiled."""

    __slots__ = ("headers", "host", "is_any_path", "methods", "needs_more", "path")

    def __init__(self, match: Match) -> None:
        self.methods = _methods(match)
        patterns = [_path_regex(pattern) for pattern in match.path]
        self.is_any_path = _ANY_PATH in patterns and _STAR not in patterns
        """Every path; the `*` of OPTIONS is none."""
        self.path = None if self.is_any_path else _any_of(patterns)
        self.host = _any_of(_text_regex(pattern) for pattern in match.host)
        self.headers = tuple(
            (name.lower(), re.compile(_text_regex(glob), re.IGNORECASE | re.DOTALL))
            for name, glob in match.header
        )
        self.needs_more = self.host is not None or bool(self.headers)

    def takes_path(self, method: str, path: str) -> bool:
        if self.methods and method not in self.methods:
            return False
        if self.is_any_path:
            return path.startswith("/")
        return self.path is None or self.path.fullmatch(path) is not None

    def takes(self, host: str, header: Callable[[str], str | None]) -> bool:
        if self.host is not None and self.host.fullmatch(_bare_host(host)) is None:
            return False
        for name, regex in self.headers:
            value = header(name)
            if value is None or regex.fullmatch(value) is None:
                return False
        return True


def _methods(match: Match) -> frozenset[str]:
    """Methods as compared; a rule for GET takes HEAD, because the same handler answers both."""
    methods = {method.upper() for method in match.method}
    if "GET" in methods:
        methods.add("HEAD")
    return frozenset(methods)


def _bare_host(host: str) -> str:
    """A Host value without port, brackets and the dot of the root."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _any_of(regexes: Iterable[str]) -> re.Pattern[str] | None:
    alternatives = "|".join(regexes)
    return re.compile(alternatives, re.IGNORECASE | re.DOTALL) if alternatives else None


# Both compilers below put every wildcard but the last into an atomic group that takes the earliest
# place where the following literal fits. For wildcards that cross everything up to the next
# literal the earliest place is never worse than a later one, and without ways to go back the time
# of a match stays linear in the path: nobody can send a path that is slow to refuse.


def _text_regex(glob: str, *, anything: str = r".") -> str:
    """A regex for a glob on text: `*` is any run of `anything`."""
    first, *rest = (re.escape(part) for part in re.split(r"\*+", glob))
    if not rest:
        return first
    *middle, last = rest
    inner = "".join(f"(?>{anything}*?{part})" for part in middle if part)
    return f"{first}{inner}{anything}*{last}"


def _segment_regex(segment: str) -> str:
    if segment == "*":
        return "/[^/]+"
    return f"/{_text_regex(segment, anything='[^/]')}(?=/|\\Z)"


def _path_regex(pattern: str) -> str:
    """A regex for a whole normalised path (used with fullmatch)."""
    if pattern == "*":
        return _STAR
    if set(path_segments(pattern)) == {"**"}:
        return _ANY_PATH  # the general form asks for segments, and the root has none
    runs: list[str] = [""]
    for segment in path_segments(pattern):
        if segment == "**":
            runs.append("")
        else:
            runs[-1] += _segment_regex(segment)
    first, *rest = runs
    if not rest:
        return first or "/"
    *middle, last = rest
    inner = "".join(f"(?>(?:/[^/]++)*?{run})" for run in middle if run)
    return f"{first}{inner}(?:/[^/]++)*{last}"


def unreachable(rules: Sequence[Rule]) -> list[tuple[int, int]]:
    """Rules that can never match, each with the earlier rule that takes all it would take.

    Sound, not complete: every pair is right; a rule covered only by several earlier rules together
    is not found.
    """
    shadowed: list[tuple[int, int]] = []
    for index, rule in enumerate(rules):
        for earlier in range(index):
            if _covers(rules[earlier].match, rule.match):
                shadowed.append((index, earlier))
                break
    return shadowed


def _covers(wide: Match, narrow: Match) -> bool:
    """Whether every request that `narrow` takes is taken by `wide`."""
    wide_methods, narrow_methods = _methods(wide), _methods(narrow)
    if wide_methods and (not narrow_methods or not narrow_methods <= wide_methods):
        return False
    if wide.path and not (narrow.path and _all_in(wide.path, narrow.path, _path_contains)):
        return False
    if wide.host and not (narrow.host and _all_in(wide.host, narrow.host, _text_contains)):
        return False
    return all(
        any(
            name.lower() == other.lower() and _text_contains(glob, inner)
            for other, inner in narrow.header
        )
        for name, glob in wide.header
    )


def _all_in(
    wide: Sequence[str], narrow: Sequence[str], contains: Callable[[str, str], bool]
) -> bool:
    return all(any(contains(outer, inner) for outer in wide) for inner in narrow)


def _text_contains(wide: str, narrow: str) -> bool:
    """Whether the glob `wide` takes every text that `narrow` takes."""
    if wide.lower() == narrow.lower():
        return True
    if "*" in narrow:
        return set(wide) == {"*"}
    return re.fullmatch(_text_regex(wide), narrow, re.IGNORECASE | re.DOTALL) is not None


def _path_contains(wide: str, narrow: str) -> bool:
    """Whether the path pattern `wide` takes every path that `narrow` takes."""
    if "*" in {wide, narrow}:
        return wide == narrow
    outer, inner = path_segments(wide), path_segments(narrow)
    # row[i]: outer[k:] takes all of inner[i:], for k from the end of outer to its start.
    row = [False] * len(inner) + [True]
    for segment in reversed(outer):
        below, row = row, [False] * (len(inner) + 1)
        if segment == "**":
            row[len(inner)] = below[len(inner)]
            for i in range(len(inner) - 1, -1, -1):
                row[i] = below[i] or row[i + 1]
        else:
            for i in range(len(inner)):
                row[i] = inner[i] != "**" and _text_contains(segment, inner[i]) and below[i + 1]
    return row[0]
