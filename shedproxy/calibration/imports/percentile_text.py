"""Texts with a table of percentiles: HdrHistogram's `.hgrm`, and what wrk2, wrk and hey print.

A `.hgrm` file does not say its unit: milliseconds are taken unless another is named. wrk2 prints a
table "measured from the intended start" first, which is read, and one without (`-U`), which is not.

Checked with the sources of wrk2 4.0.0 (commit 44a94c1, the last) and of hey 0.1.4 (commit 8985827).
hey prints "0% in 0.0000 secs" for percentiles of too few answers, and keeps a million answers for
its distributions and means, whatever it counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shedproxy.calibration.imports.load_record import (
    LatencyFigures,
    LoadRecord,
    Loop,
    RouteRecord,
)
from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.calibration.results import Count
from shedproxy.core import NS_PER_MS, NS_PER_S, Nanos

__all__ = ["UNITS_NS", "percentile_text_kind", "read_percentile_text"]

UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000}

_HEAD = re.compile(r'\s*"?Value"?[\s,]+"?Percentile"?[\s,]+"?TotalCount"?')
_ROW = re.compile(
    r"\s*([\d.]+)[\s,]+([\d.]+)[\s,]+(\d+)(?:[\s,]+[\d.]+|[\s,]+[Ii]nf(?:inity)?)?\s*"
)
_MEAN = re.compile(r"#\[Mean\s*=\s*([\d.]+)")
_MAX = re.compile(r"#\[Max\s*=\s*([\d.]+),\s*Total count\s*=\s*(\d+)")
_LENGTHS_NS = UNITS_NS | {"h": 3_600_000_000_000}
"""wrk prints a run or a wait of an hour or more in hours."""
_LENGTH = re.compile(r"([\d.]+)(us|ms|s|m|h)\b")
_WRK_SHARE = re.compile(r"\s+([\d.]+)%\s+([\d.]+(?:us|ms|s|m|h))\s*")
_WRK_TOTAL = re.compile(r"\s*(\d+) requests in ([\d.]+(?:us|ms|s|m|h)),")
_WRK_USERS = re.compile(r"\s*\d+ threads? and (\d+) connections?")
_WRK_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_WRK_LATENCY = re.compile(r"\s+Latency\s+([\d.]+(?:us|ms|s|m|h))\s+\S+\s+([\d.]+(?:us|ms|s|m|h))")
_WRK_SOCKET = re.compile(r"\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_WRK_STATUS = re.compile(r"\s*Non-2xx or 3xx responses: (\d+)")
_HEY_SHARE = re.compile(r"\s+([\d.]+)%+ in ([\d.]+) secs")
_HEY_FACT = re.compile(r"\s+(Total|Slowest|Average|Requests/sec):\s+([\d.]+)")
_HEY_KEPT = 1_000_000
_COUNTED = re.compile(r"\s+\[(\d+)\]\s+(.+)")


def percentile_text_kind(source: SourceText) -> str | None:
    """`hgrm`, `wrk`, `wrk2` or `hey`; None: it is none of them."""
    text = source.text
    if _WRK_TOTAL.search(text) and "Requests/sec" in text:
        return "wrk2" if "Recorded Latency" in text or "Thread calibration" in text else "wrk"
    if "Summary:" in text and "Requests/sec" in text and "Slowest" in text:
        return "hey"
    return "hgrm" if any(_HEAD.match(line) for line in source.lines) else None


def read_percentile_text(
    source: SourceText, *, unit: str | None = None, loop: Loop | None = None
) -> LoadRecord:
    """The run; `unit` is that of a `.hgrm`, one of `UNITS_NS`.

    Raises:
        DocumentInvalidError: a row is damaged, or percentiles fall where they should rise.
    """
    kind = percentile_text_kind(source)
    if kind == "hey":
        return _read_hey(source, loop)
    if kind in {"wrk", "wrk2"}:
        return _read_wrk(source, kind, loop)
    return _read_hgrm(source, unit or "ms", is_assumed=unit is None, loop=loop)


# --- HdrHistogram ------------------------------------------------------------------------------


def _spectrum(source: SourceText, unit_ns: int) -> Iterator[tuple[float, Nanos, int]]:
    """(share, latency, requests up to it) of the first table."""
    head = next((i for i, line in enumerate(source.lines) if _HEAD.match(line)), None)
    if head is None:
        return
    least = 0.0
    for number, line in enumerate(source.lines[head + 1 :], head + 2):
        if not line.strip():
            continue
        if line.lstrip().startswith("#"):
            return
        match = _ROW.fullmatch(line)
        if match is None:
            raise source.invalid(
                "not a row of value, percentile and count",
                line=number,
                help="the table is damaged or cut off; print it again",
            )
        value = source.number(match[1], line=number, what="a value")
        share = source.number(match[2], line=number, what="a percentile")
        if share > 1:
            raise source.invalid(
                f"a percentile is {match[2]}, and 1 is all there are",
                line=number,
                help="the table is damaged, or of a tool that prints percent",
            )
        if value < least:
            raise source.invalid("values fall here, and percentiles never do", line=number)
        least = value
        yield share, Nanos(round(value * unit_ns)), _count(source, match[3])


def _buckets(rows: list[tuple[float, Nanos, int]]) -> tuple[tuple[Nanos, int], ...]:
    found, before = [], 0
    for _, ns, upto in rows:
        if upto > before:
            found.append((ns, upto - before))
            before = upto
    return tuple(found)


def _read_hgrm(source: SourceText, unit: str, *, is_assumed: bool, loop: Loop | None) -> LoadRecord:
    unit_ns = UNITS_NS[unit]
    rows = list(_spectrum(source, unit_ns))
    if not rows:
        raise source.invalid("a table of percentiles without a row")
    mean, most = _MEAN.search(source.text), _MAX.search(source.text)
    notes = [] if not is_assumed else ["The file names no unit: milliseconds were taken."]
    return LoadRecord(
        tool="HdrHistogram",
        files=(source.name,),
        loop=loop or Loop.UNKNOWN,
        length_ns=None,
        total=RouteRecord(
            name="all",
            request_count=_count(source, most[2]) if most else rows[-1][2],
            failed_count=None,
            rate_rps=None,
            latency=LatencyFigures(
                mean_ns=Nanos(round(source.found(mean[1], "the mean") * unit_ns)) if mean else None,
                max_ns=rows[-1][1],
                percentiles=tuple((share, ns) for share, ns, _ in rows),
            ),
        ),
        histogram=_buckets(rows),
        notes=tuple(notes),
    )


# --- wrk and wrk2 ------------------------------------------------------------------------------


def _count(source: SourceText, text: str) -> int:
    return int(source.found(text, "a count"))


def _length(source: SourceText, text: str) -> Nanos:
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise source.invalid(f"{text!r} is no length of time", line=source.line_of(text))
    return Nanos(round(source.found(match[1], "a length of time") * _LENGTHS_NS[match[2]]))


def _read_wrk(source: SourceText, kind: str, loop: Loop | None) -> LoadRecord:
    text = source.text.partition("Uncorrected Latency")[0]
    whole = SourceText(source.name, text)
    total, rate = _WRK_TOTAL.search(source.text), _WRK_RATE.search(source.text)
    if total is None or rate is None:
        raise source.invalid("wrk's totals are missing", help="copy its whole output")
    users, latency = _WRK_USERS.search(text), _WRK_LATENCY.search(text)
    shares = {
        round(source.found(match[1], "a percentile") / 100, 9): _length(source, match[2])
        for line in whole.lines
        if (match := _WRK_SHARE.fullmatch(line)) is not None
    }
    rows = list(_spectrum(whole, NS_PER_MS)) if kind == "wrk2" else []
    shares |= {share: ns for share, ns, _ in rows}
    errors = _wrk_errors(source)
    count, length_ns = _count(source, total[1]), _length(source, total[2])
    notes = [] if shares else ["No percentiles in it: run wrk with --latency."]
    return LoadRecord(
        tool=kind,
        files=(source.name,),
        loop=loop or (Loop.OPEN if kind == "wrk2" else Loop.CLOSED),
        length_ns=length_ns,
        users=source.found(users[1], "connections") if users else None,
        total=RouteRecord(
            name="all",
            request_count=count,
            failed_count=sum(each.count for each in errors),
            rate_rps=source.found(rate[1], "Requests/sec"),
            latency=LatencyFigures(
                mean_ns=_length(source, latency[1]) if latency else None,
                max_ns=_length(source, latency[2]) if latency else None,
                # wrk2 says the same twice, and once rounded.
                percentiles=tuple(sorted(shares.items()))
                if rows
                else source.checked(shares.items()),
            ),
        ),
        errors=tuple(errors),
        histogram=_buckets(rows),
        notes=tuple(notes),
    )


def _wrk_errors(source: SourceText) -> list[Count]:
    found, text = [], source.text
    socket, status = _WRK_SOCKET.search(text), _WRK_STATUS.search(text)
    if socket is not None:
        names = ("connect", "read", "write", "timeout")
        found = [
            Count(name=name, count=_count(source, count))
            for name, count in zip(names, socket.groups(), strict=True)
            if _count(source, count)
        ]
    if status is not None:
        found.append(Count(name="status neither 2xx nor 3xx", count=_count(source, status[1])))
    return found


# --- hey ---------------------------------------------------------------------------------------


def _read_hey(source: SourceText, loop: Loop | None) -> LoadRecord:
    facts = {name: source.found(value, name) for name, value in _HEY_FACT.findall(source.text)}
    read = [
        (source.found(share, "a percentile") / 100, source.found(value, "a latency"))
        for share, value in _HEY_SHARE.findall(source.text)
    ]
    shares = source.checked(
        (round(share, 9), Nanos(round(value * NS_PER_S))) for share, value in read if share
    )
    _, _, after = source.text.partition("Status code distribution:")
    answers, _, errors = after.partition("Error distribution:")
    by_status = [
        (_count(source, code), _count(source, text.split()[0]))
        for code, text in _COUNTED.findall(answers)
    ]
    kinds = [
        Count(name=text.strip(), count=_count(source, n)) for n, text in _COUNTED.findall(errors)
    ]
    count = sum(n for _, n in by_status) + sum(each.count for each in kinds)
    kinds += [Count(name=f"status {code}", count=n) for code, n in by_status if code >= 400]
    if not count or "Total" not in facts:
        raise source.invalid("hey's totals are missing", help="copy its whole output")
    in_all = round(facts.get("Requests/sec", 0.0) * facts["Total"])
    notes: tuple[str, ...] = ()
    if count >= _HEY_KEPT and in_all > count:
        # Its mean is that of all answers over the number of those kept.
        facts.pop("Average", None)
        notes = (f"hey kept {count} of {in_all} answers: percentiles and statuses are of those.",)
        count = in_all

    def ns(fact: str) -> Nanos | None:
        return Nanos(round(facts[fact] * NS_PER_S)) if fact in facts else None

    return LoadRecord(
        tool="hey",
        files=(source.name,),
        loop=loop or Loop.CLOSED,
        length_ns=ns("Total"),
        total=RouteRecord(
            name="all",
            request_count=count,
            failed_count=sum(each.count for each in kinds),
            rate_rps=facts.get("Requests/sec"),
            latency=LatencyFigures(mean_ns=ns("Average"), max_ns=ns("Slowest"), percentiles=shares),
        ),
        errors=tuple(kinds),
        notes=notes,
    )
