"""The exceptions of shedproxy. Operating errors only: a refusal is a value, not an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ConfigInvalidError",
    "DocumentInvalidError",
    "PermitAlreadyReleasedError",
    "Problem",
    "ShedproxyError",
    "StartupError",
]


class ShedproxyError(Exception):
    """Base of every exception that shedproxy raises on purpose."""


class PermitAlreadyReleasedError(ShedproxyError):
    """A permit was given back twice. The state of the shedder has not changed."""


class StartupError(ShedproxyError):
    """The process cannot start: a port is taken, a file is missing. Exit code 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with a document: where it is, what is wrong, how to mend it.

    `path` names the place in the document (`("cell", "default", "limit", "max")`); `line` and
    `column` count from 1 and are 0 where there is no text. `message` says what is wrong, `note`
    stands beside the caret, `help` says how to mend it.
    """

    message: str
    path: tuple[str, ...] = ()
    source: str = ""
    line: int = 0
    column: int = 0
    length: int = 1
    note: str = ""
    help: str = ""
    severity: Literal["error", "warning", "hint"] = "error"
    excerpt: tuple[tuple[int, str], ...] = ()
    """Numbered lines of the source to show; the caret (`column`, `length`) is under the last."""


class DocumentInvalidError(ShedproxyError):
    """A document was refused whole. Carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(problem.message for problem in problems))


class ConfigInvalidError(DocumentInvalidError):
    """The configuration (file, environment, flags) was refused. Exit code 3."""
