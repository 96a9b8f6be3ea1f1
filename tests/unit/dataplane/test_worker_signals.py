from __future__ import annotations

import signal
import subprocess
import sys


def test_signals_for_the_supervisor_do_nothing_and_children_have_their_own():
    program = """
import os, signal, subprocess, sys
from shedproxy.dataplane.worker_signals import leave_to_supervisor
leave_to_supervisor()
for signum in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    os.kill(os.getpid(), signum)
child = "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"
print(subprocess.run([sys.executable, "-c", child]).returncode)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) == -signal.SIGHUP
