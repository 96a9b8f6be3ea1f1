"""The corpus kept in the repository: one packed text file per target, readable and diffable.

An entry is a block of lines, blocks are parted by an empty line, `#` begins a comment. A line of
`messages` holds bytes literals; a line of `exchange` is one step (`what who literal`), `~` after
the who says that the loop does not run after it.
"""

from __future__ import annotations

from ast import literal_eval
from pathlib import Path

from fuzz import conversation

__all__ = ["HOME", "describe", "load", "parse", "read", "write"]

HOME = Path(__file__).resolve().parent / "corpus"


def describe(target: str, data: bytes) -> list[str]:
    """One input as lines of text."""
    if target == "messages":
        return [repr(data[:2]), *(f"  {line!r}" for line in data[2:].splitlines(keepends=True))]
    number, steps = conversation.steps_of(data)
    lines = [f"document {number}"]
    for what, who, rests, said in steps:
        lines.append(f"{what} {who}{'' if rests else '~'} {said!r}")
    return lines


def parse(target: str, lines: list[str]) -> bytes:
    """The other way.

    Raises:
        ValueError: it is no entry.
    """
    if target == "messages":
        return b"".join(literal_eval(line.strip()) for line in lines)
    word, _, number = lines[0].partition(" ")
    if word != "document":
        raise ValueError(f"an entry begins with its document: {lines[0]!r}")
    steps = []
    for line in lines[1:]:
        what, who, said = line.split(" ", 2)
        steps.append((what, int(who.rstrip("~")), not who.endswith("~"), literal_eval(said)))
    return conversation.script_of(int(number), steps)


def read(target: str, text: str) -> list[bytes]:
    """Every entry of a packed text."""
    blocks = [
        [line for line in block.splitlines() if line and not line.startswith("#")]
        for block in text.split("\n\n")
    ]
    return [parse(target, block) for block in blocks if block]


def load(target: str) -> list[bytes]:
    """The kept corpus, then what once failed."""
    paths = (HOME / f"{target}.txt", HOME / f"{target}_failures.txt")
    return [entry for path in paths for entry in read(target, path.read_text(encoding="ascii"))]


def write(target: str, entries: list[bytes]) -> None:
    """Replace the kept corpus (what once failed stays in its own file)."""
    blocks = ["\n".join(describe(target, entry)) for entry in entries]
    text = f"# Corpus of target {target}: see tests/fuzz/corpus.py.\n\n" + "\n\n".join(blocks)
    (HOME / f"{target}.txt").write_text(text + "\n", encoding="ascii")
