from __future__ import annotations

from shedproxy.dataplane.wire.http_date import http_date, is_http_date


def test_a_date_is_an_imf_fixdate() -> None:
    assert http_date(784111777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_date_is_made_once_a_second() -> None:
    assert http_date(5.1) is http_date(5.9)
    assert http_date(6.0) != http_date(5.0)


def test_the_three_forms_of_a_date_are_known() -> None:
    assert is_http_date(b"Sun, 06 Nov 1994 08:49:37 GMT")
    assert is_http_date(b"Sunday, 06-Nov-94 08:49:37 GMT")
    assert is_http_date(b"Sun Nov  6 08:49:37 1994")
    for nonsense in (b"", b"soon", b"-1", b"Sun, 06 Nov 1994", b"Sun, 06 Nov 1994 08:49:37 CET"):
        assert not is_http_date(nonsense)
