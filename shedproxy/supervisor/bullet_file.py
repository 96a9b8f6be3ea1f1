"""The ledger of bullets on disk: whatever it says is done after it is safe, and never before.

The file is replaced whole and synced, so that whoever is killed leaves one of two whole ledgers. It
carries a digest, and counts that contradict its bullets are noticed: a ledger that cannot be
believed is left as it is, and nothing is taken out until somebody has looked. One process keeps it
at a time: who takes over from another waits until that one has ended, and reads it then.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from shedproxy.core import Ledger
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import from_plain, to_plain
from shedproxy.store import replace_file

__all__ = ["BulletFile", "bullet_file_of"]

_FORMAT = "shedproxy-bullets"
_SIZE_MAX = 4 * 1024 * 1024


def bullet_file_of(state_file: str) -> str:
    """Where the ledger is kept: beside what was learnt; "" for nowhere."""
    return f"{state_file}.bullets" if state_file else ""


class BulletFile:
    """One file; "" keeps the ledger in memory only, where it ends with the process."""

    def __init__(self, file: str) -> None:
        self.name = file
        """As it was given."""
        self._path = Path(file) if file else None
        self.id = secrets.token_hex(8)
        """Names this ledger to an orchestrator that hears of several."""
        self._lock: int | None = None

    def is_ours(self) -> bool:
        """Whether no other process keeps it; then none does until this one ends, or leaves it."""
        if self._path is None or self._lock is not None:
            return True
        try:
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return True  # nothing can be kept there, which is said when it is tried
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        except OSError:
            pass  # a file system without locks
        self._lock = lock
        return True

    def leave(self) -> None:
        """Let another process keep it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read(self) -> Ledger:
        """What was kept; an empty ledger where there is no file.

        Raises:
            DocumentInvalidError: there is one that cannot be believed.
            OSError: it cannot be read.
        """
        if self._path is None or not self._path.exists():
            return Ledger()
        data = self._path.read_bytes()[: _SIZE_MAX + 1]
        try:
            content = json.loads(data)
            body = content["ledger"]
            if content["format"] != _FORMAT or content["digest"] != _digest(content["id"], body):
                raise _damaged("its digest is another")
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged("it is no ledger of bullets") from error
        ledger = from_plain(Ledger, body)
        if wrong := ledger.contradiction():
            raise _damaged(wrong)
        self.id = str(content["id"])
        return ledger

    def save(self, ledger: Ledger) -> None:
        """Keep it, on disk when this returns.

        Raises:
            OSError: what was there is there still.
        """
        if self._path is None:
            return
        body = to_plain(ledger)
        content = {"format": _FORMAT, "id": self.id, "digest": _digest(self.id, body)}
        replace_file(self._path, json.dumps({**content, "ledger": body}).encode())


def _digest(name: Any, body: Any) -> str:
    text = json.dumps([name, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(why: str) -> DocumentInvalidError:
    return DocumentInvalidError([Problem(message=f"the ledger of bullets is damaged: {why}")])
