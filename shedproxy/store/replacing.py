"""Files that are replaced whole and are on the disk when that is said."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(path: Path, data: bytes) -> None:
    """Put a whole new file in place of the old one: whoever reads, or loses power, has one of both.
    A new one is its owner's alone; whoever may read the old one may read what replaces it.

    Raises:
        OSError: the old one is as it was.
    """
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(fd, "wb") as stream:  # noqa: PTH123 - a descriptor
            with contextlib.suppress(OSError):  # there is none, or the file system has no modes
                os.fchmod(fd, path.stat().st_mode & 0o777)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot, and it is replaced already
            os.fsync(folder)
    finally:
        os.close(folder)
