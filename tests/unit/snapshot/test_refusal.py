"""Refusals are a closed set of words."""

from __future__ import annotations

from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import SnapshotRefusal, SnapshotRefusedError


def test_each_refusal_has_a_word_of_its_own():
    words = [refusal.label for refusal in SnapshotRefusal]
    assert words == [
        "invalid",
        "truncated",
        "signature",
        "unknown_key",
        "replayed",
        "empty",
        "too_large",
        "newer_schema",
        "implausible",
    ]


def test_a_refusal_is_a_bad_document_with_a_reason():
    error = SnapshotRefusedError.of(
        SnapshotRefusal.EMPTY, "nothing", path=("document",), help_text="say something"
    )
    assert isinstance(error, DocumentInvalidError)
    assert error.refusal is SnapshotRefusal.EMPTY
    assert error.problems[0].path == ("document",)
    assert error.problems[0].help == "say something"
