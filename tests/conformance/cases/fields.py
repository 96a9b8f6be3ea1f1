"""Field lines: names, colons, folds, control bytes, what is forwarded as it came."""

from __future__ import annotations

from conformance.case import Case, passes, refused
from conformance.cases.message import get

NAME = "RFC 9110 5.1"
VALUE = "RFC 9110 5.5"
COLON = "RFC 9112 5.1"
FOLD = "RFC 9112 5.2"


def kept(name: str, clause: str, line: bytes, value: str | None, **more: str) -> Case:
    """The line X as the upstream has it."""
    return passes(name, clause, get(line), fields={"x": value}, **more)


CASES: list[Case] = [
    kept("a value", VALUE, b"X: y", "y"),
    kept("no blank after the colon", COLON, b"X:y", "y"),
    kept("blanks and tabs around a value", COLON, b"X: \t y z \t ", "y z"),
    kept("an empty value", VALUE, b"X:", ""),
    kept("a value of blanks", VALUE, b"X:   ", ""),
    kept("a value with colons", VALUE, b"X: a:b: c", "a:b: c"),
    kept("a value with bytes above 127", VALUE, b"X: \xc3\xa9\xff", "\xc3\xa9\xff"),
    kept("a value with a tab inside", VALUE, b"X: a\tb", "a\tb"),
    kept("a value in quotes with an escape", "RFC 9110 5.6.4", b'X: "a\\"b, c"', '"a\\"b, c"'),
    kept("escapes in a value are not decoded", VALUE, b"X: a%0d%0aY: z", "a%0d%0aY: z"),
    passes(
        "two lines of one name stay two, in order",
        "RFC 9110 5.3",
        get(b"X: 1", b"X: 2"),
        fields={"x": "1, 2"},
    ),
    passes(
        "a name of every token byte",
        NAME,
        get(b"!#$%&'*+-.^`|~0aA: y"),
        fields={"!#$%&'*+-.^`|~0aa": "y"},
    ),
    refused("no colon", "RFC 9112 5", 400, get(b"nonsense")),
    refused("an empty name", NAME, 400, get(b": y"), advisory="HAProxy CVE-2023-25725"),
    refused("an empty name and value", NAME, 400, get(b":"), advisory="HAProxy CVE-2023-25725"),
    refused(
        "an empty name hides what follows",
        NAME,
        400,
        get(b": y", b"Content-Length: 5", body=b"hello"),
        advisory="HAProxy CVE-2023-25725",
    ),
    *(
        refused(
            f"{words} before the colon",
            COLON,
            400,
            get(b"X" + blank + b": y"),
            note="a server MUST answer 400",
        )
        for words, blank in (
            ("a blank", b" "),
            ("a tab", b"\t"),
            ("a form feed", b"\x0c"),
            ("a no-break space", b"\xa0"),
        )
    ),
    refused(
        "a blank before the colon of a framing field",
        COLON,
        400,
        get(b"Content-Length : 5", method=b"POST", body=b"hello"),
    ),
    refused("a blank inside a name", NAME, 400, get(b"X Y: z")),
    refused("a name with a bracket", NAME, 400, get(b"X(1): z")),
    refused("a name with a slash", NAME, 400, get(b"X/1: z")),
    refused("a name above 127", NAME, 400, get(b"X\xe9: z")),
    refused("a name with a NUL", NAME, 400, get(b"X\x00: z")),
    refused(
        "a folded line",
        FOLD,
        400,
        get(b"X: a", b" b"),
        note="a server MUST refuse it or replace the fold; refused",
    ),
    refused("a line folded by a tab", FOLD, 400, get(b"X: a", b"\tb")),
    refused(
        "a fold in Content-Length",
        FOLD,
        400,
        get(b"Content-Length:", b" 5", method=b"POST", body=b"hello"),
    ),
    refused(
        "a fold in Transfer-Encoding",
        FOLD,
        400,
        get(b"Transfer-Encoding:", b" chunked", method=b"POST", body=b"0\r\n\r\n"),
    ),
    refused("a fold as the first line", FOLD, 400, get(b" X: y", host=None)),
    refused("a line of one blank", FOLD, 400, get(b"X: y", b" ")),
    *(
        refused(
            f"the control byte {byte:#04x} in a value",
            VALUE,
            400,
            get(b"X: a" + bytes((byte,)) + b"b"),
            advisory="" if byte else "http-garden, server bugs 2 and 13",
        )
        for byte in (0x00, 0x01, 0x07, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F)
    ),
    refused("a NUL at the end of a value", VALUE, 400, get(b"X: a\x00")),
    refused(
        "a value that tries to split",
        VALUE,
        400,
        get(b"X: a\r\r\nY: z"),
        advisory="http-garden, server bugs 18 and 35",
    ),
    passes(
        "a name with an underscore is dropped",
        NAME,
        get(b"X_Y: z"),
        fields={"x_y": None},
        note="CGI and WSGI read it as X-Y: it could pass for a field that decides",
    ),
    passes(
        "an underscore twin of a framing field",
        NAME,
        get(b"Content_Length: 5", b"Transfer_Encoding: chunked"),
        fields={"content_length": None, "transfer_encoding": None},
    ),
    passes("a name of 256 bytes", "RFC 6585 5", get(b"n" * 256 + b": y"), fields={"n" * 256: "y"}),
    refused(
        "a name of 257 bytes",
        "RFC 6585 5",
        431,
        get(b"n" * 257 + b": y"),
        advisory="HAProxy CVE-2021-40346",
    ),
    refused(
        "a name of 270 bytes before Content-Length",
        "RFC 6585 5",
        431,
        get(
            b"Content-Length0" + b"a" * 255 + b":",
            b"Content-Length: 5",
            method=b"POST",
            body=b"hello",
        ),
        advisory="HAProxy CVE-2021-40346",
    ),
]
