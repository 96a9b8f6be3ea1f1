"""Via, Forwarded, X-Forwarded-*, X-Request-Start and names of our own, by trust."""

from __future__ import annotations

from conformance.case import Case, passes
from conformance.cases.message import get
from conformance.recorder import Script

VIA = "RFC 9110 7.6.3"
FORWARDED = "RFC 7239 8.1"
OURS = "RFC 9110 7.6"


def stranger(
    name: str, line: bytes, came_out: str | None, clause: str = FORWARDED, note: str = ""
) -> Case:
    key = line.partition(b":")[0].decode().lower()
    return passes(f"a stranger's {name}", clause, get(line), fields={key: came_out}, note=note)


def trusted(name: str, line: bytes, came_out: str | None, clause: str = FORWARDED) -> Case:
    key = line.partition(b":")[0].decode().lower()
    return passes(
        f"a trusted peer's {name}", clause, get(line), fields={key: came_out}, bench="trusting"
    )


CASES: list[Case] = [
    passes("Via is added", VIA, get(), fields={"via": "1.1 shedproxy"}),
    passes(
        "Via names the version received",
        VIA,
        get(version=b"HTTP/1.0"),
        fields={"via": "1.0 shedproxy"},
        is_kept=False,
    ),
    passes(
        "Via is appended", VIA, get(b"Via: 1.0 fred"), fields={"via": "1.0 fred, 1.1 shedproxy"}
    ),
    passes(
        "X-Forwarded-* are added",
        FORWARDED,
        get(),
        fields={
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-proto": "http",
            "x-forwarded-host": "a",
        },
    ),
    stranger("X-Forwarded-For is replaced", b"X-Forwarded-For: 1.2.3.4", "127.0.0.1"),
    stranger("X-Forwarded-Proto is replaced", b"X-Forwarded-Proto: https", "http"),
    stranger("X-Forwarded-Host is replaced", b"X-Forwarded-Host: evil", "a"),
    stranger("X-Forwarded-Port is dropped", b"X-Forwarded-Port: 1", None),
    stranger("X-Real-IP is dropped", b"X-Real-IP: 1.2.3.4", None),
    stranger(
        "Forwarded is replaced",
        b"Forwarded: for=1.2.3.4;proto=https",
        'for=127.0.0.1;proto=http;host="a"',
    ),
    stranger("X-Request-Start is dropped", b"X-Request-Start: t=1700000000.0", None, OURS),
    stranger("criticality is not believed", b"X-Criticality: critical_plus", "critical", OURS),
    stranger("criticality may demote", b"X-Criticality: sheddable", "sheddable", OURS),
    stranger("twin with underscores is dropped", b"X_Criticality: critical_plus", None, OURS),
    stranger("shedproxy-* is dropped", b"Shedproxy-Pressure: 0.0", None, OURS),
    stranger("Proxy-Status is dropped", b"Proxy-Status: x", None, "RFC 9209 2"),
    trusted("X-Forwarded-For is appended to", b"X-Forwarded-For: 1.2.3.4", "1.2.3.4, 127.0.0.1"),
    trusted("X-Forwarded-Proto is kept", b"X-Forwarded-Proto: https", "https"),
    trusted("X-Forwarded-Host is kept", b"X-Forwarded-Host: front", "front"),
    trusted("X-Forwarded-Port is kept", b"X-Forwarded-Port: 444", "444"),
    trusted(
        "Forwarded is appended to",
        b"Forwarded: for=1.2.3.4",
        'for=1.2.3.4, for=127.0.0.1;proto=http;host="a"',
    ),
    trusted("X-Request-Start is kept", b"X-Request-Start: t=1700000000.0", "t=1700000000.0", OURS),
    trusted("criticality is believed", b"X-Criticality: critical_plus", "critical_plus", OURS),
    trusted("twin with underscores is dropped", b"X_Criticality: critical_plus", None, OURS),
    trusted("shedproxy-* is dropped", b"Shedproxy-Pressure: 0.0", None, OURS),
    passes(
        "a time left that is nonsense",
        OURS,
        get(b"X-Request-Timeout-Ms: NaN"),
        fields={"x-request-timeout-ms": "NaN"},
        note="it says nothing here, and is not ours to strip",
    ),
    passes(
        "a time left that is not plausible is clamped",
        OURS,
        get(b"X-Request-Timeout-Ms: 999999999999"),
        answers={},
    ),
    passes(
        "shedproxy-* of the upstream is stripped",
        OURS,
        get(),
        script=Script(
            answer=(
                b"HTTP/1.1 200 OK\r\nShedproxy-Reason: x\r\nX-Kept: z\r\nContent-Length: 0\r\n\r\n",
            )
        ),
        answers={"shedproxy-reason": None, "x-kept": "z"},
    ),
    *(
        passes(
            f"Retry-After of the upstream: {words}",
            "RFC 9110 10.2.3",
            get(),
            statuses=(503,),
            script=Script(
                answer=(
                    b"HTTP/1.1 503 No\r\nRetry-After: " + value + b"\r\nContent-Length: 0\r\n\r\n",
                )
            ),
            answers={"retry-after": came_out},
        )
        for words, value, came_out in (
            ("seconds", b"3", "3"),
            ("a date", b"Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("more than a day is a day", b"999999", "86400"),
            ("nonsense is left out", b"soon", None),
            ("negative is left out", b"-1", None),
        )
    ),
]
