"""Plays a random schedule at a recorded Shedder: `recorded_play.py SEED FILE` writes its trace."""

from __future__ import annotations

import sys
from pathlib import Path

ARRIVALS = 4000


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from harness import decision_trace
    from shedproxy.dataplane.recorder import Recorder

    decision_trace.ARRIVALS = ARRIVALS
    play = decision_trace.Trace(int(sys.argv[1]))
    recorder = Recorder(sys.argv[2])
    play.shedder = recorder.make_shedder(play.shedder.policy, now=play.now)
    play.run()
    recorder.close()


if __name__ == "__main__":
    main()
