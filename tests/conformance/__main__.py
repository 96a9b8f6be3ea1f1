"""Writes docs/conformance.md: `python -m tests.conformance --write`.

--write          the table from the cases, and from what peers did when last observed
--write --peers  the same after observing nginx, HAProxy and Envoy again (half a minute)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance.cases import ALL
from conformance.differential import (
    OBSERVED,
    expected_words,
    observe_front,
    recorded,
)
from conformance.fronts import FRONTS, version
from conformance.page import PAGE, render


def main(arguments: list[str]) -> None:
    if "--write" not in arguments:
        sys.exit(__doc__)
    if "--peers" in arguments:
        ours = {case.name: expected_words(case) for case in ALL}
        found: dict[str, dict[str, str]] = {"versions": {name: version(name) for name in FRONTS}}
        for name in FRONTS:
            said = observe_front(name)
            found[name] = {case: text for case, text in said.items() if text != ours[case]}
            print(f"{name}: {len(found[name])} of {len(said)} cases differ")
        OBSERVED.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    PAGE.write_text(render(PAGE.read_text(), recorded()))
    print(PAGE)


main(sys.argv[1:])
