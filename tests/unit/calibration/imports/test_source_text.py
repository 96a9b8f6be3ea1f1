"""Problems point at the line."""

from __future__ import annotations

import pytest

from shedproxy.calibration.imports.source_text import SourceText
from shedproxy.core import Nanos
from shedproxy.errors import DocumentInvalidError


def test_a_problem_shows_its_line() -> None:
    problem = SourceText("run.csv", "head\nbad row\n").invalid("odd", line=2, help="h").problems[0]
    assert (problem.source, problem.line, problem.excerpt) == ("run.csv", 2, ((2, "bad row"),))


def test_a_problem_of_no_line_shows_none() -> None:
    assert SourceText("run.csv", "").invalid("empty", line=3).problems[0].excerpt == ()


def test_broken_json_is_located() -> None:
    with pytest.raises(DocumentInvalidError) as caught:
        SourceText("a.json", '{\n "a": 1,\n').as_json()
    assert caught.value.problems[0].line == 2, "the last there is"


def test_json_that_is_too_deep_is_refused() -> None:
    with pytest.raises(DocumentInvalidError, match="too deeply"):
        SourceText("a.json", "[" * 100_000).as_json()


@pytest.mark.parametrize("text", ["-1", "x", "nan", "inf", "", "1.2.3", "1e308", "9" * 400])
def test_what_is_no_number_from_zero_up_is_refused(text: str) -> None:
    with pytest.raises(DocumentInvalidError, match="no number from 0 to 1e15"):
        SourceText("a", "line").number(text, line=1, what="it")


def test_a_mark_of_byte_order_is_left_out() -> None:
    assert SourceText("a.csv", "\ufeffType,Name").lines == ["Type,Name"]


def test_percentiles_are_shares_and_rise() -> None:
    source = SourceText("a.txt", "one\ntwo")
    fair = [(0.99, Nanos(3)), (0.5, Nanos(3))]
    assert source.checked(fair) == ((0.5, 3), (0.99, 3))
    for bad, said in (
        ([(2.0, Nanos(1))], "no 200th percentile"),
        ([(0.5, Nanos(3)), (0.9, Nanos(2))], "percentile 90 is less than percentile 50"),
    ):
        with pytest.raises(DocumentInvalidError, match=said) as caught:
            source.checked(bad, line=2)
        assert caught.value.problems[0].line == 2


def test_a_number_of_thousands_of_digits_is_no_summary() -> None:
    with pytest.raises(DocumentInvalidError, match="thousands of digits"):
        SourceText("a.json", "9" * 5_000).as_json()
