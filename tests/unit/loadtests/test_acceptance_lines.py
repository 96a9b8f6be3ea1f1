"""What runs of an acceptance come to."""

from __future__ import annotations

from loadtests.acceptance_lines import Line, Run, all_lines, lines_text, runs_text

GOOD = {"goodput_rps": 196.0, "goodput_ratio": 0.99, "offered": 900, "refused": 0, "failed": 0}
SHED = {"shed-0.8x": {**GOOD, "void": []}, "shed-3x": {**GOOD, "refused": 600, "void": []}}


def a_run(**changes: object) -> Run:
    values: dict[str, object] = {
        "service": "4x20-constant",
        "seed": 1,
        "budget_s": 180.0,
        "is_quick": False,
        "truth_rps": 200.0,
        "value_rps": 202.0,
        "low_rps": 198.0,
        "high_rps": 206.0,
        "confidence": "high",
        "reasons": [],
        "limits": [6, 5, 8],
        "void_steps": 0,
        "steps": 40,
        "verification": SHED,
        "measured_s": 170.0,
    }
    return Run(**(values | changes))


def line(name: str, *runs: Run) -> Line:
    return next(line for line in all_lines(runs) if line.name.startswith(name))


def test_a_run_that_is_right_keeps_every_line_that_it_says_something_of() -> None:
    lines = all_lines([a_run(), a_run(seed=2)])
    assert all(line.is_kept for line in lines)
    assert [line.name for line in lines if not line.count] == [
        "10 m: within 3 %",
        "both engines agree within 5 %",
        "quick: measured within 45 s",
    ]
    text = lines_text(lines)
    assert text.count("ok") == 7
    assert text.count("no data") == 3


def test_an_error_is_judged_by_the_budget() -> None:
    off = {"value_rps": 208.0}
    assert line("default: within", a_run(**off)).is_kept
    assert not line("10 m", a_run(**off, budget_s=600.0)).is_kept
    assert not line("default: within", a_run(value_rps=211.0)).is_kept
    assert line("default: within", a_run(value_rps=None)).count == 0


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    runs = [a_run(seed=seed, low_rps=201.0 if seed < 2 else 198.0) for seed in range(20)]
    assert line("intervals that hold", *runs).is_kept
    assert not line("intervals that hold", *runs, runs[0]).is_kept
    # What is counted is no exact truth.
    assert line("intervals that hold", a_run(service="sqlite", low_rps=201.0)).count == 0


def test_intervals_of_two_runs_overlap() -> None:
    apart = a_run(seed=2, low_rps=207.0, high_rps=210.0)
    assert not line("intervals of two", a_run(), apart).is_kept
    assert line("intervals of two", a_run(), apart._replace(service="8x5-constant")).count == 0


def test_engines_are_compared_by_the_means_of_their_answers() -> None:
    ours = [a_run(value_rps=198.0), a_run(seed=2, value_rps=202.0)]
    theirs = a_run(engine="locust", value_rps=209.0)
    assert line("both engines", *ours).count == 0
    assert line("both engines", *ours, theirs).is_kept
    assert not line("both engines", *ours, theirs._replace(value_rps=211.0)).is_kept


def test_goodput_and_refusals_are_those_of_sound_runs() -> None:
    low = {**SHED, "shed-3x": {**SHED["shed-3x"], "goodput_rps": 189.0}}
    assert line("goodput at 3 x >= 0.95 of the estimate", a_run(verification=low)).is_kept
    assert not line("goodput at 3 x >= 0.95 of the truth", a_run(verification=low)).is_kept
    refused = {"shed-0.8x": {**GOOD, "refused": 1, "void": []}}
    assert not line("nobody refused", a_run(verification=refused)).is_kept
    void = {"shed-0.8x": {**GOOD, "refused": 1, "void": ["late"]}}
    assert line("nobody refused", a_run(verification=void)).count == 0


def test_time_is_that_of_measuring() -> None:
    assert not line("default: measured", a_run(measured_s=181.0)).is_kept
    assert line("quick: measured", a_run(is_quick=True, measured_s=44.0)).is_kept
    assert not line("quick: measured", a_run(is_quick=True, measured_s=46.0)).is_kept


def test_a_run_is_a_line() -> None:
    text = runs_text([a_run(low_rps=201.0)])
    assert "+1.0%, NOT COVERED" in text
    assert "goodput 98.0% of the truth" in text
    assert "no answer: too little" in runs_text([a_run(value_rps=None, reasons=["too little"])])
