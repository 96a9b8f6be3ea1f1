"""The snapshots that were in force last, on local disk, so that a start needs nobody.

`current` and `previous` are snapshots as they came, and `highest` the highest revision that was
ever in force here. Each is replaced whole: written beside, flushed to the disk, renamed, and the
folder flushed, so that whoever reads, or loses power, has the old or the new.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import REVISION_MAX, SIZE_CLASSES
from shedproxy.snapshot.bounded_json import load_json
from shedproxy.store.replacing import replace_file

__all__ = ["Kept", "LastGood"]

_FOLDER_MODE = 0o700
_HIGHEST_SIZE_MAX = 4096


class Kept(NamedTuple):
    """A copy on disk."""

    file: Path
    data: bytes


class LastGood:
    """One folder, which belongs to one instance."""

    def __init__(self, folder: Path, *, size_max: int = SIZE_CLASSES[-1]) -> None:
        self._folder = folder
        self._size_max = size_max
        self._current = folder / "current.snapshot"
        self._previous = folder / "previous.snapshot"
        self._highest = folder / "highest.json"

    def read(self) -> Iterator[Kept | OSError]:
        """The copies, the newest first, and what could not be read; none where there are none."""
        for file in (self._current, self._previous):
            try:
                with file.open("rb") as stream:
                    # One byte more, so that one that is too long is seen to be.
                    yield Kept(file, stream.read(self._size_max + 1))
            except FileNotFoundError:
                continue
            except OSError as error:
                yield error

    def highest(self) -> int:
        """The highest revision that was in force; 0: none was, or nobody knows.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        try:
            with self._highest.open("rb") as stream:
                data = stream.read(_HIGHEST_SIZE_MAX)
        except FileNotFoundError:
            return 0
        try:
            value = load_json(data)
        except DocumentInvalidError as error:
            raise ValueError(str(error)) from error
        revision = value.get("revision") if isinstance(value, dict) else None
        if type(revision) is not int or not 0 <= revision <= REVISION_MAX:
            raise ValueError("it names no revision")
        return revision

    def touch(self) -> None:
        """Note that the current one was found at its source just now.

        Raises:
            OSError: it is not there, or not ours.
        """
        os.utime(self._current)

    def make_current(self, copy: Kept) -> None:
        """Let a copy take the place of the current one, as old as it is.

        Raises:
            OSError: the current one is as it was.
        """
        found_at = copy.file.stat().st_mtime
        replace_file(self._current, copy.data)
        os.utime(self._current, (found_at, found_at))

    def keep(self, data: bytes, revision: int) -> None:
        """Keep a snapshot that is about to be in force; the one before it becomes the previous.

        The revision comes first: one that is on disk and was not in force is no harm, an older
        one that comes back would be.

        Raises:
            OSError: not all of it is on the disk; what was there can still be read.
        """
        self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        replace_file(self._highest, b'{"revision":%d}\n' % revision)
        with contextlib.suppress(FileNotFoundError):
            replace_file(self._previous, self._current.read_bytes())
        replace_file(self._current, data)
