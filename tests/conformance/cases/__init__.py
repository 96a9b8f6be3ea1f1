"""The cases, by topic. `ALL` is the whole table in the order of the document."""

from __future__ import annotations

from conformance.case import Case
from conformance.cases import (
    answer_bodies,
    answer_heads,
    chunks,
    codings,
    expect,
    fields,
    forwarding,
    hop,
    hosts,
    lengths,
    life,
    limits,
    lines,
    paths,
    targets,
)

__all__ = ["ALL", "TOPICS"]

TOPICS: dict[str, list[Case]] = {
    "Request line": lines.CASES,
    "Fields": fields.CASES,
    "Host": hosts.CASES,
    "Target": targets.CASES,
    "Paths and rules": paths.CASES,
    "Content-Length": lengths.CASES,
    "Transfer-Encoding": codings.CASES,
    "Chunks and trailers": chunks.CASES,
    "Connection, Upgrade, TE": hop.CASES,
    "Expect": expect.CASES,
    "What is added, replaced and stripped": forwarding.CASES,
    "Connections": life.CASES,
    "Limits": limits.CASES,
    "Answer heads": answer_heads.CASES,
    "Answer bodies": answer_bodies.CASES,
}
ALL: list[Case] = [case for cases in TOPICS.values() for case in cases]
