from __future__ import annotations

import os

from shedproxy.supervisor.stack_file import FRAMES_MAX, StackFile

STACK = (
    'Current thread 0x01 (most recent call first):\n  File "/a b.py", line 3 in f\n  File "c.py"'
)


def test_a_stack_is_read_when_it_is_complete_innermost_first() -> None:
    file = StackFile.create()
    assert file.read() == ()
    os.write(file.fd, STACK.encode())
    assert file.read() == ()
    os.write(file.fd, b", line 9 in <module>\n")
    assert file.read() == ("f (/a b.py:3)", "<module> (c.py:9)")
    assert file.crash() == ()
    file.clear()
    assert file.read() == ()
    os.write(file.fd, b"Fatal Python error: Aborted\n\n" + STACK.encode() + b", line 9 in g\n")
    assert file.crash() == ("f (/a b.py:3)", "g (c.py:9)")
    file.close()
    assert file.is_closed


def test_a_deep_stack_is_kept_in_part() -> None:
    file = StackFile.create()
    os.write(file.fd, b'  File "a.py", line 1 in f\n' * 1000)
    assert len(file.read()) == FRAMES_MAX
    file.close()
