"""The soak, in full: `python -m tests.soak [--minutes 15] [--seed 1]`.

shedproxy with two workers before upstreams that restart, good and hostile clients, reloads, rolling
restarts, killed workers. A line every ten seconds, verdicts at the end; exit code 1 if one fails.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from soak.stage import Soak
from soak.verdicts import verdicts


def main(arguments: list[str] | None = None) -> int:
    """Run it, and say what held."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    say = functools.partial(print, flush=True)
    with tempfile.TemporaryDirectory(prefix="shedproxy-soak-") as scratch:
        soak = Soak(Path(scratch), options.minutes * 60, options.seed, say).run()
    failed = 0
    for verdict in verdicts(soak):
        failed += not verdict.holds
        say(f"{'holds ' if verdict.holds else 'FAILED'}  {verdict.claim}: {verdict.shown}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
