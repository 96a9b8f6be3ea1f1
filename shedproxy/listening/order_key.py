"""The key of orders on loopback, in a file that only the user of the process can read.

TCP does not say who is at the other end, and everybody on the host can reach a loopback address. So
who gives orders there shows what only this user, and root, can know. The key is made anew at each
start, and the file is named by the address. It is locked for as long as its process lives, however
that ends: a key whose process is gone is shown to nobody who took its address since, and whoever
comes first removes it. One that was removed (a session's folder goes when its user logs out) is
written again when somebody is told of it.

It holds a header, so that curl takes it (`-H @FILE`) and no list of processes shows it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from shedproxy.listening.callers import bearer

__all__ = ["OrderKey", "read_order_key"]

_PREFIX = "orders-"
_CONTENT = re.compile(r"Authorization: Bearer ([A-Za-z0-9_-]{43})\n", re.ASCII)
_SIZE_MAX = 256
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OrderKey:
    """A key, and its file for each address.

    Args:
        addresses: where it is good, as `address_of` writes them; none: it is good for nothing.
        environ: of the process; says which folders it has.
    """

    def __init__(self, addresses: Sequence[str], environ: Mapping[str, str]) -> None:
        self._addresses = tuple(addresses)
        self._folders = _folders(environ)
        self._secret = secrets.token_urlsafe(32)
        self._held: dict[str, tuple[Path, int]] = {}
        """The files by address, each with the descriptor that keeps it locked."""
        self.why = ""
        """Why there is no file, if there should be one."""
        if self._addresses:
            self._keep()

    def is_shown(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has it."""
        shown = bearer(headers) or b""
        return hmac.compare_digest(shown, self._secret.encode()) and bool(self._addresses)

    def file(self, address: str = "") -> str:
        """The file for an address, or for the first; "": there is none, `why` says why."""
        if not all(_is_there(path, fd) for path, fd in self._held.values()) or self.why:
            self._keep()
        held = self._held.get(address) or next(iter(self._held.values()), None)
        return "" if held is None else str(held[0])

    def forget(self) -> None:
        """Remove the files that are still this key's."""
        for path, fd in self._held.values():
            if _is_there(path, fd):
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(fd)
        self._held.clear()

    def _keep(self) -> None:
        whys = []
        for folder in self._folders:
            self.forget()
            try:
                _make_private(folder)
                _sweep(folder)
                for address in self._addresses:
                    self._held[address] = self._write(folder, _PREFIX + address)
            except OSError as error:
                whys.append(f"{folder}: {error.strerror}")
            else:
                self.why = ""
                return
        self.forget()
        self.why = "; ".join(whys)

    def _write(self, folder: Path, name: str) -> tuple[Path, int]:
        new, path = folder / f".{name}", folder / name
        new.unlink(missing_ok=True)
        fd = os.open(new, _MAKE, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(fd, f"Authorization: Bearer {self._secret}\n".encode())
            new.rename(path)
        except OSError:
            os.close(fd)
            raise
        return path, fd


def read_order_key(file: str, address: str) -> str:
    """The key in the file that a listener named; "": this is no key that it may be shown.

    The listener may be anybody's. So the file must be the caller's own (root takes everybody's),
    closed to others, named by the address that was called, and locked: who holds it is the one
    process that can have that address.

    Args:
        file: its name, as it was told.
        address: of the socket that told it, as `address_of` writes it.
    """
    if Path(file).name != _PREFIX + address:
        return ""
    try:
        fd = os.open(file, _READ)
    except (OSError, ValueError):
        return ""
    try:
        found = os.fstat(fd)
        is_own = found.st_uid == os.geteuid() or os.geteuid() == 0
        if not is_own or not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
            return ""
        if not _is_locked(fd, fcntl.LOCK_SH):
            return ""
        content = _CONTENT.fullmatch(os.read(fd, _SIZE_MAX).decode("latin-1"))
        return "" if content is None else content[1]
    except OSError:
        return ""
    finally:
        os.close(fd)


def _folders(environ: Mapping[str, str]) -> list[Path]:
    """Where files of this user alone can be, the best first.

    What systemd made for the service, what it made for the session, memory, which containers have
    that may write nothing else, and disk.
    """
    user, folders = os.geteuid(), []
    service = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if service.startswith("/"):
        folders.append(Path(service, "orders"))
    session = environ.get("XDG_RUNTIME_DIR", "")
    # That of another user stays when somebody becomes root, or nobody.
    with contextlib.suppress(OSError):
        if session.startswith("/") and Path(session).stat().st_uid == user:
            folders.append(Path(session, "shedproxy"))
    folders.append(Path(f"/dev/shm/shedproxy-{user}"))  # noqa: S108 - `_make_private` looks
    folders.append(Path(environ.get("TMPDIR") or "/tmp", f"shedproxy-{user}"))  # noqa: S108
    return folders


def _make_private(folder: Path) -> None:
    """Make it, if it is not there. OSError: it is not this user's alone."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to somebody else")
    if found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "it is open to others than its owner")


def _sweep(folder: Path) -> None:
    """Remove the files of processes that are no more."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, _READ)
            try:
                if not _is_locked(fd, fcntl.LOCK_EX):
                    path.unlink()
            finally:
                os.close(fd)


def _is_there(path: Path, fd: int) -> bool:
    try:
        return path.lstat().st_ino == os.fstat(fd).st_ino
    except OSError:
        return False


def _is_locked(fd: int, lock: int) -> bool:
    """Whether somebody has it; if nobody has, we do until it is closed."""
    try:
        fcntl.flock(fd, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
