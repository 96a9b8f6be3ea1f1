"""Writes the scenario files that differ in numbers only: `python -m loadtests.make_grid`.

Eight families: overload (six shapes of backend x four laws of work x six loads, the quick shapes
with the default deadline besides), the plateau of goodput, the sweep of Breakwater and its step,
the tasks of DAGOR and the sweep of its signal, the loads of Cinnamon and of a copy of it, the
steadiness of refusals. A test compares the files with this output; change a family here and run it
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["SCENARIOS", "files"]

SCENARIOS = Path(__file__).parent / "scenarios"

Value = str | float | bool | list[tuple[str, float]]
Table = dict[str, Value]

COMPLETIONS = 8_000
"""What a run of the overload grid should see served, at capacity: four times what a figure rests on
at least."""
ARRIVALS_MAX = 60_000
"""What a run costs at most, and so how long the highest loads last."""
QUICK_ARRIVALS_MAX = 100_000
"""The same for backends whose runs are short in seconds anyway, at loads that leave them few
completions, or where the deadline is longer than the run."""
LENGTH_MIN_S = 5.0
DAGOR_CALLS_MAX = 120_000

SHAPES = ((4, 5.0), (4, 20.0), (16, 40.0), (64, 2.0), (2, 400.0), (32, 0.3))
"""(slots, mean service in ms)."""
OVERLOADS = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
PLATEAU_LOADS = (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
PLATEAU_ARRIVALS_MAX = 120_000
TWIN_LOADS = (1.2, 3.0, 10.0)
"""Of quick shapes, once more with the deadline that clients have by default and do not tell."""
QUICK_MS = 5.0
"""Below it a run of the grid is shorter than most clients are patient."""
LAWS = {
    "exponential": "Work is exponential, the textbook law: the shortest answer says nothing about "
    "the mean.",
    "constant": "All work takes equally long: there is no noise that a relative limiter could "
    "take for news.",
    "lognormal": "Work has a heavy tail (coefficient of variation 2): averages jump and minima "
    "mislead.",
    "bimodal": "Nine calls in ten take half the mean, the tenth eleven times as long: no single "
    "latency is typical, and percentiles leap between the two.",
}
LIVE = frozenset((
    "overload-4x20ms-constant-3x",
    "overload-4x20ms-exponential-3x",
    "overload-4x20ms-exponential-10x",
))  # fmt: skip
"""Those that are played in real time as well: slow enough for one machine."""
PACES = {
    400.0: "At five answers a second every sample is precious: window lengths in seconds or in "
    "hundreds of samples learn nothing in time.",
    0.3: "At 107 000 answers a second an interval of 100 ms is an age.",
}
"""What is special about some mean service times."""


PID_SLOTS = 2
PID_COMPLETIONS = 2_600
"""More than the hundreds of the published runs: figures, also of the best class, rest on enough."""


class PidTest(NamedTuple):
    """Mean and scatter of the work, mean pause of a caller, shares of priorities, best first."""

    name: str
    work_s: float
    scatter_s: float
    pause_s: float
    priorities: tuple[float, float, float, float, float, float]
    callers: int = 32


_FEW_GOOD = (0.05, 0.05, 0.1, 0.2, 0.3, 0.3)
PID_TESTS = (
    PidTest("base", 0.5, 0.1, 0.5, (0.05, 0.1, 0.15, 0.2, 0.25, 0.25)),
    PidTest("aggressive-peak", 0.2, 0.05, 0.1, _FEW_GOOD),
    PidTest("high-latency", 1.2, 0.1, 0.5, (0.05, 0.05, 0.1, 0.3, 0.25, 0.25)),
    PidTest("high-volume", 0.5, 0.1, 0.2, (0.05, 0.05, 0.1, 0.2, 0.25, 0.35)),
    PidTest("low-latency", 0.8, 0.05, 0.5, (0.1, 0.1, 0.15, 0.2, 0.25, 0.2)),
    PidTest("priority-spike", 0.3, 0.1, 0.2, (0.2, 0.2, 0.2, 0.15, 0.15, 0.1)),
    PidTest("stress", 0.8, 0.2, 0.1, _FEW_GOOD, callers=16),
)


def files() -> Iterator[tuple[str, str]]:
    """(name without suffix, TOML) of every generated scenario."""
    yield from overload_files()
    yield from plateau_files()
    yield from breakwater_files()
    yield from breakwater_step_files()
    yield from dagor_files()
    yield from signal_files()
    yield from cinnamon_files()
    yield from pid_files()
    yield from refusal_files()


def overload_files() -> Iterator[tuple[str, str]]:
    for slots, service_ms in SHAPES:
        for law in LAWS:
            for load in OVERLOADS:
                yield overload_file(slots, service_ms, law, load, is_told=True)
                if service_ms < QUICK_MS and load in TWIN_LOADS:
                    yield overload_file(slots, service_ms, law, load, is_told=False)


def overload_file(
    slots: int, service_ms: float, law: str, load: float, *, is_told: bool
) -> tuple[str, str]:
    """One of the grid. Of quick shapes the deadline is 100 service times and is told, so that
    something can be late within a short run; or neither, and only percentiles show who waits.
    """
    capacity_rps = slots / service_ms * 1000
    is_quick = service_ms < QUICK_MS
    length_s = max(COMPLETIONS / capacity_rps, LENGTH_MIN_S)
    is_dear = is_quick and (load > 3 or not is_told)
    most = QUICK_ARRIVALS_MAX if is_dear else ARRIVALS_MAX
    length_s = min(length_s, most / (load * capacity_rps))
    patience = ""
    if is_quick and is_told:
        patience = f"Clients say that they wait no longer than {number(100 * service_ms)} ms."
    elif is_quick:
        patience = "Clients wait for a second, and do not say so."
    explanation = (
        f"Demand is {number(load)} times what {slots} slots can do. Whoever lets all "
        "of it in answers everybody late; a limit too low leaves slots idle, one too "
        f"high makes every answer wait twice. {LAWS[law]} {PACES.get(service_ms, '')} {patience}"
    )
    head: Table = {
        "title": f"{number(load)} x overload of {slots} slots of {number(service_ms)} ms, {law}"
        + ("" if is_told else ", default deadline"),
        "group": "Overload",
        "source": "Breakwater (OSDI 2020): goodput over load, by law of service time",
        "explanation": " ".join(explanation.split()),
        "duration_s": float(f"{length_s:.3g}"),
        "unscored_arrivals": 500,
    }
    client: Table = {"load": load}
    if is_quick and is_told:
        head["deadline_ms"] = round(100 * service_ms)
        client["announces_deadline"] = True
    name = f"overload-{slots}x{number(service_ms)}ms-{law}-{number(load)}x"
    name += "" if is_told else "-unannounced"
    if name in LIVE:
        head["live"] = True
    backend: Table = {"slots": slots, "service_ms": service_ms, "law": law}
    # Ten times is to reach 95 %, five times 97 % (the plateau of the second experiment).
    least = 0.98 if load <= 3 else 0.97 if load <= 5 else 0.95
    bounds = ["goodput_ratio >= " + number(least), "p99_ratio <= 1"]
    return name, document(name, head, backend, [client], bounds)


def plateau_files() -> Iterator[tuple[str, str]]:
    """Below capacity, at it and above it: eight slots of 20 ms, clients that wait for a second."""
    for load in PLATEAU_LOADS:
        name = f"plateau-{number(load)}x"
        head: Table = {
            "title": f"The plateau of goodput: {number(load)} x eight slots of 20 ms",
            "group": "Below capacity" if load < 1 else "Overload",
            "source": "Breakwater (OSDI 2020): goodput over load; its clients have one second here",
            "explanation": "Goodput is to rise with demand up to capacity and to stay there, "
            "however much more is asked for; below capacity nobody is refused. Without control a "
            "little more than capacity is enough for every answer to come too late.",
            "duration_s": min(60.0, PLATEAU_ARRIVALS_MAX / (400 * load)),
            "unscored_arrivals": 500,
        }
        least = 0.98 if load <= 3 else 0.97 if load <= 5 else 0.95
        bounds = [f"goodput_ratio >= {number(least)}", "p99_ratio <= 1"]
        if load < 0.9:
            bounds += ["false_refusal_ratio <= 0.0002", "false_refusal_excess <= 0.0002"]
        if load >= 1.5:
            bounds.append("goodput_ratio <= 0.1 by none")
        backend: Table = {"slots": 8, "service_ms": 20}
        yield name, document(name, head, backend, [{"load": load}], bounds)


def breakwater_files() -> Iterator[tuple[str, str]]:
    sweep = [("exponential", load) for load in (0.1, 0.4, 0.7, 1.0, 1.3, 1.6)]
    sweep += [(law, load) for law in ("constant", "bimodal") for load in (1.0, 1.6)]
    for law, load in sweep:
        name = f"breakwater-{law}-{number(load)}"
        head: Table = {
            "title": f"Breakwater's sweep: {number(load)} of capacity, {law}",
            "group": "Mixed and quick work",
            "source": "Breakwater (OSDI 2020): sweep from 0.1 to 1.6 of the capacity of 10 cores, "
            "objective 10 service times",
            "explanation": "Ten slots of 1 ms (its 10 us, a hundred times slower) and an answer "
            "counts within ten service times. A standing queue of 10 ms is already too late, so "
            "thresholds in fixed milliseconds cannot work; below capacity nobody may be refused.",
            "duration_s": min(10.0, float(f"{QUICK_ARRIVALS_MAX / (load * 10_000):.3g}")),
            "unscored_arrivals": 500,
            "deadline_ms": 10,
        }
        backend: Table = {"slots": 10, "service_ms": 1, "law": law}
        client: Table = {"load": load, "announces_deadline": True}
        bounds = ["goodput_ratio >= 0.98", "p99_ms <= 10"]
        if load < 0.9:
            bounds.append("false_refusal_ratio <= 0.0002")
        yield name, document(name, head, backend, [client], bounds)


def breakwater_step_files() -> Iterator[tuple[str, str]]:
    for law in ("exponential", "constant", "bimodal"):
        name = f"breakwater-step-{law}"
        head: Table = {
            "title": f"Breakwater's step from 0.7 to 1.4 of capacity, {law}",
            "group": "Mixed and quick work",
            "source": "Breakwater (OSDI 2020): step to 1.4 x; stable after 20 ms, DAGOR 500 ms, "
            "SEDA 1.58 s, at 10 us",
            "explanation": "Ten slots of 1 ms and an objective of ten service times. A single "
            "standing queue of 10 ms makes every answer late: goodput collapses to zero with all "
            "slots busy, and stays there until the queue is gone. In no stretch of 2 000 answers "
            "may it fall by more than 5 %.",
            "duration_s": 8,
            "unscored_arrivals": 500,
            "deadline_ms": 10,
            "recovers_from_s": "[3]",
        }
        backend: Table = {"slots": 10, "service_ms": 1, "law": law}
        client: Table = {"load": 0.7, "schedule": "[[3, 2]]", "announces_deadline": True}
        bounds = ["recovery_s <= 2", "goodput_ratio >= 0.98", "p99_ms <= 10", "dip_ratio <= 0.05"]
        yield name, document(name, head, backend, [client], bounds)


def dagor_files() -> Iterator[tuple[str, str]]:
    for calls in (1, 2, 3, 4):
        for tasks_rps in (250, 500, 750, 1000, 1500, 2250):
            name = f"dagor-m{calls}-{tasks_rps}"
            optimum = min(1.0, 750 / (calls * tasks_rps))
            head: Table = {
                "title": f"DAGOR's tasks of {calls} call{'s' * (calls > 1)}, {tasks_rps} a second",
                "group": "Tasks, deadlines and sessions",
                "source": "DAGOR (SoCC 2018): workloads M1 to M4 on a service of 750 calls/s, "
                "rejected calls sent again up to three times",
                "explanation": f"A task is {calls} calls in a row and worthless unless all "
                f"succeed: at most {optimum:.1%} of the tasks can. Refusing calls by lot finishes "
                "few of them, for most tasks then lose one call after others were served; and "
                "each refused call comes four times.",
                "duration_s": min(60, DAGOR_CALLS_MAX // (4 * tasks_rps)),
                "unscored_arrivals": 500,
                "deadline_ms": 500,
            }
            backend: Table = {"slots": 15, "service_ms": 20}
            client: Table = {
                "rate_rps": tasks_rps,
                "calls_per_task": calls,
                "cohort": "user",
                "attempts": 4,
            }
            bounds = ["task_optimum_ratio >= 0.97"]
            yield name, document(name, head, backend, [client], bounds)


def signal_files() -> Iterator[tuple[str, str]]:
    """DAGOR's station of 750 calls a second, nearer and nearer to what it can do, and over it."""
    for offered_rps in (630, 690, 735, 790):
        name = f"signal-{offered_rps}"
        head: Table = {
            "title": f"DAGOR's station at {offered_rps} of its 750 calls a second",
            "group": "Below capacity" if offered_rps < 750 else "Overload",
            "source": "DAGOR (SoCC 2018), figure 5: detection by response time sheds from 630/s, "
            "by queueing time from 750/s",
            "explanation": "Where a controller begins to refuse is the quality of its signal: a "
            "busy service answers more slowly long before it is overloaded. Refusals are to begin "
            "at 98 % of capacity at the earliest, and where demand is above it they are to come.",
            "duration_s": 100,
            "unscored_arrivals": 500,
        }
        backend: Table = {"slots": 15, "service_ms": 20}
        client: Table = {"rate_rps": offered_rps}
        bounds = ["goodput_ratio >= 0.98"]
        if offered_rps < 750:
            bounds.append("false_refusal_ratio <= 0.0002")
        else:
            bounds.append("refused_ratio >= 0.02")
        yield name, document(name, head, backend, [client], bounds)


def refusal_files() -> Iterator[tuple[str, str]]:
    """The refusal loop under steady demand, and under one that alternates."""
    common: Table = {
        "group": "Steps and faults",
        "source": "Uber's Cinnamon (2023): AIMD and CoDel swing by 30 points above half refused",
        "unscored_arrivals": 500,
    }
    backend: Table = {"slots": 16, "service_ms": 10, "law": "lognormal", "cv": 0.3}
    steady = ["refused_share_sd <= 0.03", "refused_share_range <= 0.1", "refused_settling_s <= 2"]
    for load, length_s in ((1.2, 24), (2.0, 18), (2.5, 16), (4.0, 14)):
        name = f"refusals-steady-{number(load)}x"
        head: Table = {
            "title": f"The refused share at a constant {number(load)} x",
            **common,
            "explanation": "Demand does not change, so neither should the share that is refused: a "
            "loop that overshoots refuses everybody in one second and nobody in the next, and idle "
            "slots pay for it. The demand that is shown to an autoscaler is what was offered, not "
            "what was let in.",
            "duration_s": length_s,
        }
        # The range is promised for more than half refused: below, chance alone takes half of it.
        bounds = steady if load >= 2 else [steady[0], steady[2]]
        bounds = [*bounds, "demand_error_ratio <= 0.03", "spare_used_ratio >= 0.97"]
        yield name, document(name, head, backend, [{"load": load}], bounds)
    name = "refusals-alternating"
    head = {
        "title": "The refused share while 0.8 and 3 x alternate",
        **common,
        "explanation": "Every ten seconds demand goes from below capacity to three times it or "
        "back. The share has two seconds to settle, is steady from then on, and after the step "
        "down nothing stays idle.",
        "duration_s": 40,
        "recovers_from_s": "[10, 20, 30]",
    }
    client: Table = {"load": 0.8, "schedule": "[[10, 3.75], [20, 1], [30, 3.75]]"}
    yield name, document(name, head, backend, [client], [*steady, "spare_used_ratio >= 0.97"])


def cinnamon_files() -> Iterator[tuple[str, str]]:
    for offered_rps in (1300, 2000, 3000, 3900, 5200):
        name = f"cinnamon-{offered_rps}"
        head: Table = {
            "title": f"Cinnamon's service at {offered_rps} requests a second",
            "group": "Priorities",
            "source": "Uber's Cinnamon (2023): two backends of 650/s, 120 ms unloaded, 1 s "
            "timeout; QALM (CoDel) answered 552/s at 3000",
            "explanation": "Two hosts can do 1300/s together; tiers are four here instead of six, "
            "with cohorts of users inside each. A refusal loop on queue time swings between "
            "everything and nothing at such loads, and a target latency learnt in overload drifts "
            "up with it.",
            "duration_s": 20,
            "unscored_arrivals": 500,
            "deadline_ms": 1000,
        }
        backend: Table = {"hosts": 2, "slots": 78, "service_ms": 120, "law": "uniform"}
        tiers = [
            ("critical_plus", 0.1),
            ("critical", 0.3),
            ("sheddable_plus", 0.3),
            ("sheddable", 0.3),
        ]
        client: Table = {"rate_rps": offered_rps, "criticality": tiers, "cohort": "user"}
        bounds = [
            "goodput_ratio >= 0.98",
            "p50_ms <= 150",
            "p99_ms <= 500",
            "class_served_ratio.critical_plus >= 0.999",
            "inversion_ratio <= 0.001",
        ]
        yield name, document(name, head, backend, [client], bounds)


def pid_files() -> Iterator[tuple[str, str]]:
    """Callers that ask, do not wait for the answer, and pause; two slots behind them.

    With the published 32 callers `stress` would be of 300 000 requests: it has half of them.
    """
    for test in PID_TESTS:
        rate_rps = test.callers / test.pause_s
        load = rate_rps * test.work_s / PID_SLOTS
        name = f"pid-{test.name}"
        head: Table = {
            "title": f"A Cinnamon copy's {test.name.replace('-', ' ')}: {load:.3g} x capacity",
            "group": "Other projects' tests",
            "source": "jfrz38/rate-limit-pid-controller, simulation/scenarios: "
            f"{test.name.replace('-', '_')}, a copy of Uber's Cinnamon with two slots",
            "explanation": "Callers ask and go on without waiting, so that demand is many times "
            "what two slots can do, and most of it of low worth: what is refused costs nothing "
            "here, and all of the little that can be served must go to the best. Work is as even "
            "as published; its six priorities are four classes.",
            "duration_s": float(f"{PID_COMPLETIONS * test.work_s / PID_SLOTS:.4g}"),
            "unscored_arrivals": 500,
        }
        backend: Table = {
            "slots": PID_SLOTS,
            "service_ms": round(1000 * test.work_s),
            "law": "lognormal",
            "cv": float(f"{test.scatter_s / test.work_s:.3g}"),
        }
        best, second, third, fourth, fifth, last = test.priorities
        classes = [
            ("critical_plus", best),
            ("critical", second + third),
            ("sheddable_plus", fourth),
            ("sheddable", fifth + last),
        ]
        client: Table = {
            "arrivals": "constant",
            "rate_rps": float(f"{rate_rps:.5g}"),
            "criticality": classes,
            "cohort": "request",
        }
        bounds = ["goodput_ratio >= 0.95", "inversion_ratio <= 0.001"]
        if best * load < 1:
            bounds.append("class_served_ratio.critical_plus >= 0.999")
        yield name, document(name, head, backend, [client], bounds)


def document(
    name: str, head: Table, backend: Table, clients: list[Table], bounds: list[str]
) -> str:
    """TOML of one scenario; bounds are `metric >= number`, with `by NAME` where not of ours."""
    lines = [f'name = "{name}"', *rows(head), "", "[backend]", *rows(backend)]
    for client in clients:
        lines += ["", "[[client]]", *rows(client)]
    for bound in bounds:
        metric, relation, least_or_most, *by = bound.split()
        key = {">=": "at_least", "<=": "at_most"}[relation]
        lines += ["", "[[expect]]", f'metric = "{metric}"', f"{key} = {least_or_most}"]
        if by:
            lines.append(f'by = "{by[1]}"')
    return "\n".join(lines) + "\n"


def rows(table: Table) -> list[str]:
    return [f"{key} = {show(value)}" for key, value in table.items()]


def show(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if value.startswith("[") else f'"{value}"'
    if isinstance(value, list):
        return "{ " + ", ".join(f"{word} = {number(share)}" for word, share in value) + " }"
    return number(value)


def number(value: float) -> str:
    """Without a decimal point where none is needed."""
    return f"{value:g}" if value != int(value) else str(int(value))


if __name__ == "__main__":
    for stem, text in files():
        (SCENARIOS / f"{stem}.toml").write_text(text)
