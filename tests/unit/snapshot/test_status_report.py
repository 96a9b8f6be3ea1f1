"""Reports have one size, whatever they say."""

from __future__ import annotations

import json

import pytest

from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import (
    STATUS_REPORT_SCHEMA,
    STATUS_REPORT_SIZE,
    StatusReport,
    decode_report,
    encode_report,
)

FULL = StatusReport(
    instance="i" * 128,
    boot_id="b" * 36,
    heartbeat=(1 << 53) - 1,
    sent_at_s=1.8e9,
    binary_digest=f"sha256:{'0' * 64}",
    snapshot_digest=f"sha256:{'1' * 64}",
    revision=(1 << 53) - 1,
    highest_revision=(1 << 53) - 1,
    refusal="newer_schema",
    refused_revision=(1 << 53) - 1,
    mode="observe",
    is_stale=True,
    requests=1 << 60,
    errors=1 << 60,
    sheds=1 << 60,
    limited=1 << 60,
    bounded=1 << 60,
    client_errors=1 << 60,
    durations=(1 << 60,) * 32,
    p99_ms=123456.789,
)


@pytest.mark.parametrize("report", [FULL, StatusReport(instance="a", boot_id="b", heartbeat=1)])
def test_a_report_comes_back_and_has_its_size(report):
    data = encode_report(report)
    assert len(data) == STATUS_REPORT_SIZE
    assert decode_report(data) == report


def test_fields_of_a_newer_version_are_left_out():
    plain = {**json.loads(encode_report(FULL)), "altitude": 3}
    assert decode_report(json.dumps(plain).encode().ljust(STATUS_REPORT_SIZE)) == FULL


def test_what_the_version_before_did_not_count_is_not_zero():
    plain = {**json.loads(encode_report(FULL)), "schema": 1}
    del plain["limited"], plain["client_errors"], plain["bounded"]
    report = decode_report(json.dumps(plain).encode().ljust(STATUS_REPORT_SIZE))
    assert (report.limited, report.client_errors, report.bounded) == (None, None, None)


@pytest.mark.parametrize("schema", [None, 0, STATUS_REPORT_SCHEMA, STATUS_REPORT_SCHEMA + 1])
def test_a_report_of_the_version_before_or_after_is_read(schema):
    plain = json.loads(encode_report(FULL))
    assert plain["schema"] == STATUS_REPORT_SCHEMA
    plain["schema"] = schema
    if schema is None:
        del plain["schema"]
    assert decode_report(json.dumps(plain).encode().ljust(STATUS_REPORT_SIZE)) == FULL


@pytest.mark.parametrize("schema", [STATUS_REPORT_SCHEMA + 2, -1, "1"])
def test_a_report_of_any_other_version_is_refused(schema):
    plain = {**json.loads(encode_report(FULL)), "schema": schema}
    with pytest.raises(DocumentInvalidError, match="schema"):
        decode_report(json.dumps(plain).encode().ljust(STATUS_REPORT_SIZE))


def test_a_text_that_is_too_long_is_refused_by_its_writer():
    with pytest.raises(ValueError, match="256"):
        encode_report(StatusReport(instance="a" * 257, boot_id="b", heartbeat=1))
    with pytest.raises(ValueError, match="4096"):
        encode_report(StatusReport(instance="a", boot_id="b", heartbeat=1, durations=(0,) * 4096))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"{}".ljust(STATUS_REPORT_SIZE),
        b"x" * STATUS_REPORT_SIZE,
        b'{"format":"shedproxy-status","instance":"a"}'.ljust(STATUS_REPORT_SIZE),
        b'{"format":"shedproxy-status","instance":1,"boot_id":"","heartbeat":1}'.ljust(4096),
    ],
)
def test_what_is_no_report_is_refused(data):
    with pytest.raises(DocumentInvalidError):
        decode_report(data)
