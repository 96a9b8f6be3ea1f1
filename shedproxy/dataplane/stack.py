"""Lets a process say where it is, also while C code holds its interpreter or it is crashing.

A signal asks: its handler is C code of the interpreter's own (`faulthandler`), which writes the
Python stack of the thread that it interrupts, the main thread, to a file descriptor.
"""

from __future__ import annotations

import faulthandler
import signal

__all__ = ["STACK_SIGNAL", "tell_stack_to"]

STACK_SIGNAL: int = getattr(signal, "SIGRTMAX", signal.SIGUSR1 + 1) - 1
"""A real-time signal, because applications have uses of their own for the others."""


def tell_stack_to(fd: int) -> None:
    """Write the stack of the main thread to `fd` at each `STACK_SIGNAL`, and at a crash."""
    faulthandler.enable(fd, all_threads=False)
    faulthandler.register(STACK_SIGNAL, fd, all_threads=False)
