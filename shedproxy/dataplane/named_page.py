"""A share page that processes find by a name, where no supervisor hands it to them.

In a private folder of the user there is one folder for each name. Its file `seats` is locked byte
by byte: whoever has the lock of a byte has the region of the page with that number, until it lets
go or dies, because the kernel takes the locks of the dead. Beside it each has a socket, its door:
a newcomer asks there for the page, which is memory that cannot be cut short (`share_page`), and who
frees a slot rings there. The first of all makes the page.

Nothing here waits: what cannot be had now is asked for again at the next look. Who looks also
clears what the dead had in flight, and whoever comes first removes folders that nobody uses.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
import weakref
from array import array
from collections.abc import Iterator
from pathlib import Path

from shedproxy.dataplane.share_page import SharePage
from shedproxy.errors import StartupError

__all__ = ["REGIONS", "NamedPage", "runtime_folder"]

REGIONS = 64
"""Processes that a page has room for."""

_RING_CAPACITY = 64
"""Refusals kept in the page; what the middleware keeps is elsewhere."""
_ONE_FD = socket.CMSG_SPACE(array("i").itemsize)
_RECEIVE = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_FLOCK = struct.Struct("hhqqi4x")
"""Type, whence, start, length and process of a lock."""
_MAKING = REGIONS
"""The byte whose lock is needed to take a seat; those before are the seats."""
_ASKING, _RINGING, _GIVING = b"?", b"!", b"p"
_HAS_PAGE, _HAS_NONE = b"p", b"\0"


def runtime_folder() -> Path:
    """Where names are: below what the system gives this user, or in shared memory.

    Every process of a user and a server gets the same answer. XDG_RUNTIME_DIR counts where it is
    the user's own.
    """
    user = os.geteuid()
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    with contextlib.suppress(OSError):
        if given and os.stat(given).st_uid == user:  # noqa: PTH116 - as below
            return Path(given, "shedproxy")
    memory = Path("/dev/shm")  # noqa: S108 - the folder below is private
    return (memory if memory.is_dir() else Path("/tmp")) / f"shedproxy-{user}"  # noqa: S108


class NamedPage:
    """One process's seat at a page, and the way to it.

    Args:
        name: letters and digits; who gives the same name has the same page.
        folder: of all names; it is made if it is not there, and must be this user's alone.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._runtime = folder
        self._folder = folder / name
        self._seats = -1
        self._door: socket.socket | None = None
        self.page: SharePage | None = None
        """None: there is none (yet); `why` says what is in the way."""
        self.why = "not asked for yet"
        self.region = -1
        """Ours, once there is a page."""
        _all.add(self)

    # --- to the page --------------------------------------------------------------------------

    def seek(self) -> None:
        """A step towards the page: take a seat, then make the page or ask for it. Never waits."""
        if self.page is not None:
            return
        try:
            if self._seats < 0:
                self._open()
            with self._locked(_MAKING, 1) as is_ours:
                if not is_ours:
                    self.why = "another process is taking its seat"
                elif not self._is_there():
                    # Somebody removed the folder between our opening and our lock.
                    self.leave()
                else:
                    self._sit_down()
        except (OSError, StartupError) as error:
            self.leave()
            self.why = str(error)

    def _open(self) -> None:
        for folder in (self._runtime, self._folder):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(0o700)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise StartupError(f"{folder} belongs to somebody else")
            if found.st_mode & 0o077:
                raise StartupError(f"{folder} is open to others than its owner")
        self._sweep()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._seats = os.open(self._folder / "seats", flags, 0o600)

    def _sit_down(self) -> None:
        if self.region < 0:
            self.region = next((r for r in range(REGIONS) if self._lock(r, 1)), -1)
            if self.region < 0:
                raise StartupError(f"{REGIONS} processes have the page, there is room for no more")
            # Who died here had the page. As long as the seat says so, others ask us for it.
            os.pwrite(self._seats, _HAS_NONE, self.region)
        if self._door is None:
            self._door = self._open_door()
        holders = [r for r in self._others() if self._is_locked(r)]
        if holders:
            self.why = "no process has given the page yet"
            for region in holders:
                self._send(region, _ASKING)
        else:
            self._take(SharePage.create(REGIONS, ring_capacity=_RING_CAPACITY))

    def _open_door(self) -> socket.socket:
        path = self._door_of(self.region)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        door.setblocking(False)
        door.bind(str(path))
        return door

    def _take(self, page: SharePage) -> None:
        self.page, self.why = page, ""
        page.reset(self.region)
        page.worker(self.region).pid = os.getpid()
        os.pwrite(self._seats, _HAS_PAGE, self.region)

    def _others(self) -> list[int]:
        """Regions of those that have, or had, the page."""
        marks = os.pread(self._seats, REGIONS, 0)
        return [r for r, mark in enumerate(marks) if mark == _HAS_PAGE[0] and r != self.region]

    # --- doors --------------------------------------------------------------------------------

    def fileno(self) -> int:
        """To be watched for reading; -1: there is nothing to watch."""
        return -1 if self._door is None else self._door.fileno()

    def answer(self) -> bool:
        """Read what came to the door; whether somebody rang."""
        is_rung = False
        while self._door is not None:
            try:
                word, given, _, sender = self._door.recvmsg(1, _ONE_FD, _RECEIVE)
            except OSError:
                break
            is_rung |= word == _RINGING
            if word == _ASKING and self.page is not None and sender:
                with contextlib.suppress(OSError):
                    fds = array("i", [self.page.fd])
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)
                    self._door.sendmsg([_GIVING], [rights], 0, sender)
            if word == _GIVING and given:
                self._attach(array("i", given[0][2])[0])
        return is_rung

    def _attach(self, fd: int) -> None:
        if self.page is not None:
            os.close(fd)  # two gave it
            return
        try:
            page = SharePage.attach(fd)
        except StartupError as error:
            self.why = str(error)
            os.close(fd)
            return
        self._take(page)

    def ring(self, region: int) -> None:
        """Wake who has that region; nothing if that cannot be done."""
        self._send(region, _RINGING)

    def _send(self, region: int, word: bytes) -> None:
        if self._door is not None:
            # A full door has been rung at, a dead one is nobody's.
            with contextlib.suppress(OSError):
                self._door.sendto(word, str(self._door_of(region)))

    def _door_of(self, region: int) -> Path:
        return self._folder / f"door-{region}"

    # --- among others -------------------------------------------------------------------------

    def members(self) -> list[int]:
        """Regions of all that have the page, ours included."""
        return [] if self.page is None else sorted([self.region, *self._others()])

    def look(self) -> None:
        """Clear the words of the dead; forget the page when its folder is gone."""
        if self.page is None:
            return
        try:
            if not self._is_there():
                raise FileNotFoundError(f"{self._folder} was removed")
            for region in self._others():
                with self._locked(region, 1) as is_free:
                    if is_free:
                        self.page.reset(region)
                        os.pwrite(self._seats, _HAS_NONE, region)
        except OSError as error:
            self.leave()
            self.why = str(error)

    def leave(self) -> None:
        """Let go of everything; the last to leave removes the folder."""
        if self.page is not None:
            self.page.reset(self.region)
            self.page.close()
            self.page = None
        self.why = "left"
        if self._seats >= 0:
            with contextlib.suppress(OSError):
                if self.region >= 0:
                    os.pwrite(self._seats, _HAS_NONE, self.region)
                    self._unlock(self.region, 1)
                _remove(self._folder, self._seats)
            os.close(self._seats)
            self._seats = -1
        if self._door is not None:
            self._door.close()
            self._door = None
        self.region = -1

    def forget_in_child(self) -> None:
        """A forked process is nobody here: as long as it had our locks we could not die."""
        if self._seats >= 0:
            os.close(self._seats)
            self._seats = -1

    def _is_there(self) -> bool:
        return _is_file_of(self._folder, self._seats)

    def _sweep(self) -> None:
        """Remove the folders of servers that are no more."""
        for folder in self._runtime.iterdir():
            if folder == self._folder:
                continue
            with contextlib.suppress(OSError):
                seats = os.open(folder / "seats", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    _remove(folder, seats)
                finally:
                    os.close(seats)

    # --- locks --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, start: int, length: int) -> Iterator[bool]:
        """Whether the lock is ours, for as long as the block lasts."""
        is_ours = self._lock(start, length)
        try:
            yield is_ours
        finally:
            if is_ours and self._seats >= 0:
                self._unlock(start, length)

    def _lock(self, start: int, length: int) -> bool:
        return _set_lock(self._seats, fcntl.F_WRLCK, start, length)

    def _unlock(self, start: int, length: int) -> None:
        _set_lock(self._seats, fcntl.F_UNLCK, start, length)

    def _is_locked(self, start: int) -> bool:
        """Whether another has the lock of a byte."""
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
        found = fcntl.fcntl(self._seats, fcntl.F_OFD_GETLK, wanted)
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _is_file_of(folder: Path, seats: int) -> bool:
    """Whether an open file is the one that is there now."""
    try:
        found = (folder / "seats").stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(seats)
    return (found.st_ino, found.st_dev) == (ours.st_ino, ours.st_dev)


def _remove(folder: Path, seats: int) -> None:
    """Remove a folder in which nobody sits."""
    if _set_lock(seats, fcntl.F_WRLCK, 0, REGIONS + 1) and _is_file_of(folder, seats):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _set_lock(fd: int, kind: int, start: int, length: int) -> bool:
    """False: another has it. Locks of open files, not of processes: no other close ends them."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except BlockingIOError:
        return False
    return True


_all: weakref.WeakSet[NamedPage] = weakref.WeakSet()


def _forget_in_child() -> None:
    for each in tuple(_all):
        each.forget_in_child()


os.register_at_fork(after_in_child=_forget_in_child)
