"""Waiting for a condition: returns at once when it holds, fails when the bound is reached."""

from __future__ import annotations

import pytest

from shedproxy.testing.eventually import eventually, eventually_async


def test_a_true_condition_returns_its_value():
    assert eventually(lambda: "value") == "value"


def test_polls_until_the_condition_holds():
    calls = iter([0, None, "", 7])
    assert eventually(lambda: next(calls)) == 7


def test_an_exception_means_not_yet():
    calls = iter([False, True])

    def condition():
        assert next(calls), "not yet"
        return "done"

    assert eventually(condition) == "done"


def test_the_bound_fails_with_the_last_error_as_cause():
    def condition():
        raise ValueError("broken")

    with pytest.raises(
        AssertionError, match=r"the moon did not come true within 0\.01 s"
    ) as caught:
        eventually(condition, within_s=0.01, what="the moon")
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.anyio
async def test_async_takes_plain_functions_and_coroutine_functions():
    calls = iter([False, True])

    async def condition():
        return next(calls)

    assert await eventually_async(condition)
    assert await eventually_async(lambda: 3) == 3


@pytest.mark.anyio
async def test_async_bound():
    with pytest.raises(AssertionError, match="within"):
        await eventually_async(lambda: False, within_s=0.01)
