"""`shedproxy run` on the given settings, with workers that lose their page."""

from __future__ import annotations

import sys
from pathlib import Path

from shedproxy.supervisor.run import RunOptions, run_supervisor

PROGRAM = str(Path(__file__).with_name("lost_page.py"))
sys.exit(run_supervisor(RunOptions(file=Path(sys.argv[1]), worker_program=(PROGRAM,))))
