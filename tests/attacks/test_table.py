"""The table of attacks is complete, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_attack_has_its_test():
    text = (HERE / "conftest.py").read_text()
    rows = re.findall(r"^\| (A\d+) \| .* \| (\S+\.py) \|$", text, re.MULTILINE)
    assert [attack for attack, _ in rows] == [f"A{number}" for number in range(1, 29)]
    for attack, where in rows:
        if "/" in where:
            assert (HERE.parent / where).is_file(), attack
        else:
            assert f'mark.attack("{attack}")' in (HERE / where).read_text(), attack
