"""What the runs over seeds say of the intervals."""

from __future__ import annotations

import pytest
from harness.calibrations import a_plan

from loadtests.coverage import Answer, answer, summary
from shedproxy.core import milliseconds


def test_a_calibration_is_judged_by_the_truth() -> None:
    found = answer(1, law="constant", slots=4, service_ns=milliseconds(20), plan=a_plan())
    assert found.value == pytest.approx(1, rel=0.03)
    assert found.low < found.value < found.high
    assert found == answer(1, law="constant", slots=4, service_ns=milliseconds(20), plan=a_plan())


def test_who_has_no_answer_is_neither_right_nor_wrong() -> None:
    answers = [
        Answer(1, 1.01, 0.98, 1.04), Answer(2, 0.9, 0.85, 0.95), Answer(3, 1.02, 0.99, 1.05),
        Answer(4, None),
    ]  # fmt: skip
    found = summary(answers)
    assert found["coverage_ratio"] == pytest.approx(2 / 3)
    assert found["error_median_ratio"] == pytest.approx(0.02)
    assert found["error_max_ratio"] == pytest.approx(0.1)
    assert found["no_answer_ratio"] == 0.25
