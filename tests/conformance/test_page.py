"""docs/conformance.md says what the table holds, case by case."""

from __future__ import annotations

from conformance.cases import ALL
from conformance.differential import COMPARED, expected_words, recorded
from conformance.fronts import FRONTS
from conformance.page import PAGE, render


def test_the_page_is_current() -> None:
    """`python -m tests.conformance --write` makes it so."""
    page = PAGE.read_text()
    assert page == render(page, recorded())


def test_what_was_observed_belongs_to_cases_that_are() -> None:
    observed = recorded()
    ours = {case.name: expected_words(case) for case in COMPARED}
    for name in FRONTS:
        assert observed["versions"][name]
        assert set(observed[name]) <= set(ours)
        assert all(said != ours[case] for case, said in observed[name].items())


def test_malformed_input_is_never_an_error_of_the_server() -> None:
    """501 and 505 are for well-formed requests for what is not supported."""
    for case in ALL:
        if case.script.answer and not getattr(case, "reads", True):
            assert all(status < 500 or status in {501, 505} for status in case.statuses), case.name
