"""A network of two hosts, this one and one behind a namespace, whose wire is a program.

Two TUN devices, one in a network namespace of its own; every packet between them passes through
this process, which may lose it, delay it or let a later one overtake. The kernels on both sides are
real. Needs root and /dev/net/tun: `is_possible`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import random
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

__all__ = ["BadNetwork", "is_possible"]

NEAR, FAR = "10.219.77.1", "10.219.77.2"
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_CLONE_NEWNET = 0x40000000
_T = TypeVar("_T")


def is_possible() -> bool:
    """Whether this machine and user can make one."""
    if os.geteuid() or not shutil.which("ip") or not os.access("/dev/net/tun", os.W_OK):
        return False
    return not subprocess.run(
        ["unshare", "-n", "true"], capture_output=True, check=False
    ).returncode


class BadNetwork:
    """While entered, `FAR` is reachable over the wire. Attributes may change at any time."""

    def __init__(self, *, seed: int = 1) -> None:
        self.loss = 0.0
        """Share of packets that are lost."""
        self.delay_s = 0.0
        """One way."""
        self.reorder = 0.0
        """Share of packets that are not delayed, and so overtake."""
        self.is_cut = False
        """Every packet is lost: the host is gone without a word."""
        self.passed = self.lost = 0
        self._random = random.Random(seed)
        self._name = f"shedproxy-{os.getpid()}"
        self._ends: list[int] = []

    async def __aenter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            near, far = _tun("sp-near"), self._inside(lambda: _tun("sp-far"))
            self._ends = [near, far]
            _ip("addr", "add", f"{NEAR}/24", "dev", "sp-near")
            _ip("link", "set", "sp-near", "up")
            for command in (
                ("addr", "add", f"{FAR}/24", "dev", "sp-far"),
                ("link", "set", "sp-far", "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", self._name, *command)
        except BaseException:
            self._remove()
            raise
        loop = asyncio.get_running_loop()
        loop.add_reader(near, self._pass_on, near, far)
        loop.add_reader(far, self._pass_on, far, near)
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in self._ends:
            asyncio.get_running_loop().remove_reader(end)
        self._remove()

    def bind(self, host: str, port: int) -> socket.socket:
        """A listening socket on the far host."""
        return self._inside(lambda: socket.create_server((host, port), backlog=1024))

    def _remove(self) -> None:
        for end in self._ends:
            os.close(end)
        self._ends = []
        _ip("netns", "del", self._name)

    def _inside(self, make: Callable[[], _T]) -> _T:
        """Call in the namespace: in a thread, because entering it is for a thread's life."""
        made: list[Any] = []

        def run() -> None:
            with open(f"/run/netns/{self._name}", "rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(make())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return made[0]

    def _pass_on(self, source: int, target: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(source, 65536)
                chance = self._random.random
                if self.is_cut or chance() < self.loss:
                    self.lost += 1
                elif self.delay_s and chance() >= self.reorder:
                    asyncio.get_running_loop().call_later(self.delay_s, self._send, target, packet)
                else:
                    self._send(target, packet)

    def _send(self, target: int, packet: bytes) -> None:
        if target in self._ends:
            self.passed += 1
            with contextlib.suppress(OSError):
                os.write(target, packet)


def _tun(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return end


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
