from __future__ import annotations

import os
import signal
import subprocess
import sys

from shedproxy.dataplane.stack import STACK_SIGNAL
from shedproxy.supervisor.stack_file import StackFile
from shedproxy.testing import eventually

PROGRAM = """
import ctypes, os, sys
from shedproxy.dataplane.stack import tell_stack_to
tell_stack_to(int(sys.argv[1]))
def hold():
    os.write(1, b"x")
    # C code that holds the interpreter, and sleeps on however often it is interrupted.
    libc = ctypes.PyDLL(None)
    for _ in range(int(sys.argv[2])):
        libc.usleep(1_000_000)
    libc.abort()
hold()
"""


def start(stacks: StackFile, length_s: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(stacks.fd), str(length_s)],
        pass_fds=(stacks.fd,),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    return process


def test_a_process_says_where_it_is_while_c_code_holds_its_interpreter() -> None:
    stacks = StackFile.create()
    process = start(stacks, 30)
    try:
        for _ in range(2):
            stacks.clear()
            os.kill(process.pid, STACK_SIGNAL)
            stack = eventually(stacks.read)
            assert stack[0].startswith("hold (<string>:")
            assert stack[1].startswith("<module> (<string>:")
        assert stacks.crash() == ()
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
        stacks.close()


def test_a_crash_leaves_its_stack() -> None:
    stacks = StackFile.create()
    process = start(stacks, 0)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    assert stacks.crash()[0].startswith("hold (")
    stacks.close()
