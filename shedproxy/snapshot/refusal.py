"""Why a snapshot was not put in force. The closed set."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from shedproxy.errors import DocumentInvalidError, Problem

__all__ = ["SnapshotRefusal", "SnapshotRefusedError"]


class SnapshotRefusal(enum.IntEnum):
    """The value is for nobody; `label` is the word in metrics, logs and status. Append only."""

    INVALID = 0
    """Not a snapshot, damaged, or nothing that can be run."""
    TRUNCATED = 1
    """Shorter than it says."""
    SIGNATURE = 2
    """A key that is trusted is named, and did not sign this."""
    UNKNOWN_KEY = 3
    """Signed by no key that is trusted, or not at all."""
    REPLAYED = 4
    """Older than one that was in force, or another content under its number."""
    EMPTY = 5
    """Valid, and says nothing to serve by."""
    TOO_LARGE = 6
    NEWER_SCHEMA = 7
    """By more than one."""
    IMPLAUSIBLE = 8
    """It would have refused too much of what was served in the last hour."""

    @property
    def label(self) -> str:
        """The word used in metrics, logs and status."""
        return self.name.lower()


class SnapshotRefusedError(DocumentInvalidError):
    """A snapshot was refused whole; what was in force stays."""

    def __init__(self, refusal: SnapshotRefusal, problems: Sequence[Problem]) -> None:
        self.refusal = refusal
        super().__init__(list(problems))

    @classmethod
    def of(
        cls,
        refusal: SnapshotRefusal,
        message: str,
        *,
        path: tuple[str, ...] = (),
        help_text: str = "",
    ) -> SnapshotRefusedError:
        """For one problem."""
        return cls(refusal, [Problem(message=message, path=path, help=help_text)])
