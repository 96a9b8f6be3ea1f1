"""docs/conformance.md: the policy by hand, the table from the cases and what peers did."""

from __future__ import annotations

from pathlib import Path

from conformance.case import Case
from conformance.cases import ALL, TOPICS
from conformance.differential import COMPARED, expected_words
from conformance.fronts import FRONTS

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
MARK = "<!-- the table: python -m tests.conformance --write -->\n"
TITLES = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy"}


def render(page: str, observed: dict[str, dict[str, str]]) -> str:
    """The page with its table made anew; what stands before the mark stays."""
    policy, mark, _ = page.partition(MARK)
    assert mark, "the page has lost its mark"
    return policy + mark + _table(observed)


def _table(observed: dict[str, dict[str, str]]) -> str:
    versions = observed["versions"]
    compared = {case.name for case in COMPARED}
    differing = sum(any(case.name in observed[name] for name in FRONTS) for case in COMPARED)
    peers = [f"{TITLES[name]} {versions[name]}" for name in FRONTS]
    summary = (
        f"{len(ALL)} cases, {len(COMPARED)} of them compared with {peers[0]}, {peers[1]} and"
        f" {peers[2]}; at least one of these does otherwise in {differing}. An empty cell: the"
        " same. A dash: not compared."
    )
    lines = [summary, ""]
    for topic, cases in TOPICS.items():
        lines += [
            f"### {topic}",
            "",
            "| case | clause | here | nginx | HAProxy | Envoy | why |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(_row(case, observed, is_compared=case.name in compared) for case in cases),
            "",
        ]
    return "\n".join(lines)


def _row(case: Case, observed: dict[str, dict[str, str]], *, is_compared: bool) -> str:
    others = [observed[name].get(case.name, "") if is_compared else "–" for name in FRONTS]
    why = "; ".join(part for part in (case.note, case.advisory) if part)
    cells = [case.name, case.clause, expected_words(case), *others, why]
    return "| " + " | ".join(_escape(cell) for cell in cells) + " |"


def _escape(text: str) -> str:
    shown = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return shown.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
