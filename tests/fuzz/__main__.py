"""Fuzz the message policy or the whole exchange.

python -m tests.fuzz messages --seconds 60
python -m tests.fuzz exchange --seconds 60 --seed 7
python -m tests.fuzz exchange --seconds 60 --seed-corpus   keep what was found, minimised
python -m tests.fuzz exchange --replay crash.txt           run one input, written as text
python -m tests.fuzz exchange --corpus                     run the kept corpus alone
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--libfuzzer"]:
        from fuzz import libfuzzer

        libfuzzer.run(arguments[1], arguments[2:])
    from fuzz import corpus, engine
    from fuzz.targets import TARGETS, check_of

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="a directory that keeps inputs between runs")
    parser.add_argument("--seed-corpus", action="store_true", help="write the kept corpus anew")
    parser.add_argument("--replay", type=Path, help="an input as text")
    parser.add_argument("--corpus", action="store_true", help="run the kept corpus alone")
    chosen = parser.parse_args(arguments)
    target = chosen.target
    if chosen.replay is not None:
        for entry in corpus.read(target, chosen.replay.read_text(encoding="ascii")):
            check_of(target)(entry)
            print("\n".join(corpus.describe(target, entry)), "\nnothing is wrong with it")
        return 0
    if chosen.corpus:
        began = time.perf_counter()
        entries = corpus.load(target)
        crashes = [entry for entry in entries if engine.failure_of(target, entry)]
        wall_s = time.perf_counter() - began
        print(f"{target}: kept corpus: {len(entries)} inputs in {wall_s:.1f} s,", end=" ")
        print(f"{len(crashes)} crashes")
    else:
        report = engine.fuzz(
            target, chosen.seconds, seed=chosen.seed, work=chosen.work, keep=chosen.seed_corpus
        )
        print(*report.lines(target), sep="\n", flush=True)
        crashes = report.crashes
    for number, crash in enumerate(crashes):
        small = engine.minimise(target, crash)
        path = Path(tempfile.gettempdir()) / f"shedproxy-{target}-{number}.txt"
        print(*engine.reproduction(target, small, path), sep="\n")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
