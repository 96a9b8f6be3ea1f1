"""The child process in which libFuzzer runs a target. Imports nothing of the proxy before that."""

from __future__ import annotations

import gc
import sys

from fuzz.targets import check_of

__all__ = ["run"]


def run(target: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["shedproxy.dataplane"]):
        check = check_of(target)
    gc.freeze()
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()
