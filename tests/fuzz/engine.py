"""Runs a target: by libFuzzer through atheris, or by plain mutation where atheris is not installed.

libFuzzer ends its process, so it runs in a child; the parent reads what it says of itself.
"""

from __future__ import annotations

import importlib.util
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fuzz import corpus
from fuzz.targets import check_of, dictionary_of

__all__ = ["Report", "failure_of", "fuzz", "has_atheris", "minimise", "reproduction"]

INPUT_SIZE_MAX = 3000
INPUT_SECONDS_MAX = 10
MAIN = Path(__file__).resolve().parent / "__main__.py"
_STATUS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass
class Report:
    """What a run came to."""

    engine: str
    executions: int
    wall_s: float
    cpu_s: float
    features: int
    """0: not measured."""
    corpus_size: int
    crashes: list[bytes]

    def lines(self, target: str) -> list[str]:
        rate = self.executions / max(self.wall_s, 1e-9)
        features = f"{self.features} coverage features" if self.features else "no coverage measured"
        return [
            (
                f"{target}: {self.engine}: {self.executions} executions in {self.wall_s:.0f} s"
                f" ({rate:.0f}/s, {self.cpu_s:.0f} CPU s), {features}, corpus {self.corpus_size},"
                f" {len(self.crashes)} crashes"
            ),
        ]


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def failure_of(target: str, data: bytes) -> str:
    """What goes wrong with this input, in one line; empty when nothing does."""
    try:
        check_of(target)(data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def kind_of(failure: str) -> str:
    return failure.split(" | ")[0].split(" (")[0]


def fuzz(
    target: str, seconds: int, *, seed: int = 1, work: Path | None = None, keep: bool = False
) -> Report:
    """Run for so long, from the kept corpus and what is in the directory `work`.

    What reaches something new is added to `work`. With `keep` the kept corpus is written anew.
    """
    with tempfile.TemporaryDirectory(prefix="shedproxy-fuzz-") as scratch:
        if has_atheris():
            home = Path(scratch)
            live = home / "corpus" if work is None else work
            live.mkdir(parents=True, exist_ok=True)
            return _by_libfuzzer(target, seconds, seed, live, home, keep=keep)
    return _by_mutation(target, seconds, seed)


# --- libFuzzer ----------------------------------------------------------------------------------


def _by_libfuzzer(
    target: str, seconds: int, seed: int, live: Path, home: Path, *, keep: bool
) -> Report:
    found, words = home / "found", home / "words"
    found.mkdir()
    for number, entry in enumerate(corpus.load(target)):
        (live / f"{number:05}").write_bytes(entry)
    words.write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'
            for word in dictionary_of(target)
        )
    )
    command = [
        sys.executable, "-P", str(MAIN), "--libfuzzer", target, str(live),
        f"-max_total_time={seconds}", f"-artifact_prefix={found}/", f"-dict={words}",
        f"-seed={seed}", f"-max_len={INPUT_SIZE_MAX}", f"-timeout={INPUT_SECONDS_MAX}",
        "-print_final_stats=1", "-rss_limit_mb=2048",
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    crashes = [path.read_bytes() for path in sorted(found.iterdir())]
    executed = _EXECUTED.search(done.stderr)
    if done.returncode and not crashes:
        raise RuntimeError(f"the fuzzer failed: {done.stderr[-3000:]}")
    status = _STATUS.findall(done.stderr)
    _, features, size = status[-1] if status else (0, 0, 0)
    if keep and not crashes:
        _keep(target, live, home / "merged")
    return Report(
        "libFuzzer (atheris)",
        int(executed[1]) if executed else 0,
        wall_s,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        int(features),
        int(size),
        crashes,
    )


def _keep(target: str, live: Path, merged: Path) -> None:
    """Write the smallest set of inputs that reaches all that was reached."""
    merged.mkdir()
    command = [
        sys.executable, "-P", str(MAIN), "--libfuzzer", target, "-merge=1", str(merged), str(live),
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    entries = sorted((path.read_bytes() for path in merged.iterdir()), key=lambda e: (len(e), e))
    corpus.write(target, [entry for entry in entries if not failure_of(target, entry)])


# --- without it ---------------------------------------------------------------------------------


def _by_mutation(target: str, seconds: int, seed: int) -> Report:
    """Inputs of the corpus, changed at random: the same ones for the same seed."""
    chance = random.Random(seed)
    entries = corpus.load(target)
    words = dictionary_of(target)
    began, cpu_began = time.perf_counter(), time.process_time()
    executions, crashes = 0, []
    while time.perf_counter() - began < seconds and not crashes:
        data = mutate(chance, entries, words)
        executions += 1
        if failure_of(target, data):
            crashes.append(data)
    return Report(
        f"plain mutation (no atheris), seed {seed}",
        executions,
        time.perf_counter() - began,
        time.process_time() - cpu_began,
        0,
        len(entries),
        crashes,
    )


def mutate(chance: random.Random, entries: list[bytes], words: tuple[bytes, ...]) -> bytes:
    data = bytearray(chance.choice(entries))
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randint(0, len(data))
        dice = chance.random()
        if dice < 0.3:
            data[at:at] = chance.choice(words)
        elif dice < 0.5:
            data[at : at + chance.choice((1, 2, 8, 40))] = b""
        elif dice < 0.7 and at < len(data):
            data[at] = chance.randrange(256)
        elif dice < 0.8:
            data[at : at + 1] = bytes([chance.randrange(256)]) * chance.choice((1, 2, 30))
        else:
            other = chance.choice(entries)
            begin = chance.randint(0, len(other))
            data[at:at] = other[begin : begin + chance.choice((2, 10, 60, 300))]
    return bytes(data[:INPUT_SIZE_MAX])


# --- a failure made small -----------------------------------------------------------------------


def minimise(target: str, data: bytes, *, seconds: float = 20.0) -> bytes:
    """A smaller input with the same kind of failure (Zeller's ddmin over bytes and over steps)."""
    kind = kind_of(failure_of(target, data))
    if not kind:
        return data
    ends_at = time.perf_counter() + seconds
    separator = b"\xff" if target == "exchange" else b"\n"

    def fails(candidate: bytes) -> bool:
        return kind_of(failure_of(target, candidate)) == kind

    parts = _shrink(data.split(separator), separator.join, fails, ends_at)
    data = separator.join(parts)
    size = 64
    while size and time.perf_counter() < ends_at:
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        data = b"".join(_shrink(chunks, b"".join, fails, ends_at))
        size //= 2
    return data


def _shrink(parts: list[bytes], join, fails, ends_at: float) -> list[bytes]:
    index = len(parts) - 1
    while index >= 0 and time.perf_counter() < ends_at:
        fewer = parts[:index] + parts[index + 1 :]
        if fails(join(fewer)):
            parts = fewer
        index -= 1
    return parts


def reproduction(target: str, data: bytes, path: Path) -> Iterable[str]:
    """How a reader sees and repeats a failure."""
    path.write_text("\n".join(corpus.describe(target, data)) + "\n", encoding="ascii")
    yield f"{target}: {failure_of(target, data)}"
    yield from ("    " + line for line in corpus.describe(target, data))
    yield f"replay: python -m tests.fuzz {target} --replay {path}"
