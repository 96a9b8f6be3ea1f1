"""The soak, compressed; `python -m tests.soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak.stage import Soak
from soak.verdicts import verdicts

pytestmark = pytest.mark.integration


def test_ninety_seconds_of_everything_leave_nothing_behind(tmp_path: Path) -> None:
    soak = Soak(tmp_path, 85).run()
    found = list(verdicts(soak))
    for verdict in found:
        print(f"{verdict.claim}: {verdict.shown}")
    assert len(soak.kills) >= 3
    assert not [verdict for verdict in found if not verdict.holds]
