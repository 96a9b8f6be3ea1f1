"""Cells that keys are spread over must be there."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('default = "alhpa"', '"alhpa"'),
        ("weights = { alhpa = 1 }", "alhpa"),
        ('pins = { "big" = "alhpa" }', '"alhpa"'),
    ],
)
def test_a_cell_that_is_not_there_is_named_with_the_nearest(written, under, line, text):
    problem = written.problem(f'[cells]\nkey = "host"\nsecret = "s"\n{line}\n[cell.alpha]')
    assert problem.message == 'there is no cell "alhpa"'
    assert problem.help == 'did you mean "alpha"?'
    assert under(problem) == text


def test_weights_that_leave_nobody_are_refused(written):
    problem = written.problem('[cells]\nkey = "host"\nweights = { a = 0 }\n[cell.a]')
    assert problem.message == "cells.weights leave no cell for anybody"
