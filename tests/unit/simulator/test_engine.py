"""Time jumps from event to event, in a fixed order."""

from __future__ import annotations

from shedproxy.simulator.engine import Engine


def test_events_run_in_order_of_time_and_at_one_instant_in_the_order_set() -> None:
    engine, seen = Engine(), []
    for when, name in ((20, "c"), (10, "a"), (10, "b")):
        engine.at(when, lambda name: seen.append((engine.now, name)), name)
    engine.run(100)
    assert seen == [(10, "a"), (10, "b"), (20, "c")]


def test_time_ends_where_it_was_told_and_later_events_wait() -> None:
    engine, seen = Engine(), []
    engine.at(10, seen.append, "at the end")
    engine.at(11, seen.append, "after it")
    engine.run(10)
    assert (engine.now, seen) == (10, ["at the end"])
    engine.run(20)
    assert (engine.now, seen) == (20, ["at the end", "after it"])


def test_what_is_due_in_the_past_runs_now() -> None:
    engine, seen = Engine(), []
    engine.at(10, lambda _: engine.at(3, lambda _: seen.append(engine.now), None), None)
    engine.run(20)
    assert seen == [10]


def test_checkers_look_after_every_event() -> None:
    engine, seen = Engine(), []
    engine.after_event = lambda: seen.append(engine.now)
    for when in (1, 2, 2):
        engine.at(when, lambda _: None, None)
    engine.run(5)
    assert seen == [1, 2, 2]
