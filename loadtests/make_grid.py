"""Writes the scenario files that differ in numbers only: `python -m loadtests.make_grid`.

Four families: overload (six shapes of backend x four laws of work x three loads), the sweep of
Breakwater, the tasks of DAGOR, the loads of Cinnamon. A test compares the files with this output;
change a family here and run it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["SCENARIOS", "files"]

SCENARIOS = Path(__file__).parent / "scenarios"

Value = str | float | bool | list[tuple[str, float]]
Table = dict[str, Value]

COMPLETIONS = 20_000
"""What a run of the overload grid should see served, at capacity."""
ARRIVALS_MAX = 150_000
"""What a run costs at most: this bounds the runs of fast backends at high loads."""
LENGTH_MIN_S = 5.0

SHAPES = ((4, 5.0), (4, 20.0), (16, 40.0), (64, 2.0), (2, 400.0), (32, 0.3))
"""(slots, mean service in ms)."""
OVERLOADS = (1.2, 3.0, 10.0)
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
    0.3: "At 107 000 answers a second an interval of 100 ms is an age. Clients say that they wait "
    "no longer than 30 ms.",
    2.0: "Clients say that they wait no longer than 200 ms.",
}
"""What is special about some mean service times."""


def files() -> Iterator[tuple[str, str]]:
    """(name without suffix, TOML) of every generated scenario."""
    yield from overload_files()
    yield from breakwater_files()
    yield from dagor_files()
    yield from cinnamon_files()


def overload_files() -> Iterator[tuple[str, str]]:
    for slots, service_ms in SHAPES:
        for law, about_law in LAWS.items():
            for load in OVERLOADS:
                capacity_rps = slots / service_ms * 1000
                length_s = max(COMPLETIONS / capacity_rps, LENGTH_MIN_S)
                length_s = min(length_s, ARRIVALS_MAX / (load * capacity_rps))
                # Where runs are short, so is patience: else nothing could be late in them.
                is_quick = length_s < LENGTH_MIN_S or service_ms < 5
                name = f"overload-{slots}x{number(service_ms)}ms-{law}-{number(load)}x"
                explanation = (
                    f"Demand is {number(load)} times what {slots} slots can do. Whoever lets all "
                    "of it in answers everybody late; a limit too low leaves slots idle, one too "
                    f"high makes every answer wait twice. {about_law} {PACES.get(service_ms, '')}"
                )
                head: Table = {
                    "title": f"{number(load)} x overload of {slots} slots of "
                    f"{number(service_ms)} ms, {law}",
                    "group": "Overload",
                    "source": "Breakwater (OSDI 2020): goodput over load, by law of service time",
                    "explanation": explanation.strip(),
                    "duration_s": float(f"{length_s:.3g}"),
                    "unscored_arrivals": 500,
                }
                client: Table = {"load": load}
                if is_quick:
                    head["deadline_ms"] = round(100 * service_ms)
                    client["announces_deadline"] = True
                if name in LIVE:
                    head["live"] = True
                backend: Table = {"slots": slots, "service_ms": service_ms, "law": law}
                least = 0.98 if load <= 3 else 0.95
                bounds = ["goodput_ratio >= " + number(least), "p99_ratio <= 1"]
                yield name, document(name, head, backend, [client], bounds)


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
            "duration_s": min(20.0, float(f"{ARRIVALS_MAX / (load * 10_000):.3g}")),
            "unscored_arrivals": 500,
            "deadline_ms": 10,
        }
        backend: Table = {"slots": 10, "service_ms": 1, "law": law}
        client: Table = {"load": load, "announces_deadline": True}
        bounds = ["goodput_ratio >= 0.98", "p99_ms <= 10"]
        if load < 0.9:
            bounds.append("false_refusal_ratio <= 0.0002")
        yield name, document(name, head, backend, [client], bounds)


def dagor_files() -> Iterator[tuple[str, str]]:
    for calls in (1, 2, 3, 4):
        for tasks_rps in (250, 750, 1500, 2250):
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
                "duration_s": min(60, ARRIVALS_MAX // (4 * tasks_rps)),
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


def document(
    name: str, head: Table, backend: Table, clients: list[Table], bounds: list[str]
) -> str:
    """TOML of one scenario; bounds are written `metric >= number`."""
    lines = [f'name = "{name}"', *rows(head), "", "[backend]", *rows(backend)]
    for client in clients:
        lines += ["", "[[client]]", *rows(client)]
    for bound in bounds:
        metric, relation, least_or_most = bound.split()
        key = {">=": "at_least", "<=": "at_most"}[relation]
        lines += ["", "[[expect]]", f'metric = "{metric}"', f"{key} = {least_or_most}"]
    return "\n".join(lines) + "\n"


def rows(table: Table) -> list[str]:
    return [f"{key} = {show(value)}" for key, value in table.items()]


def show(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "{ " + ", ".join(f"{word} = {number(share)}" for word, share in value) + " }"
    return number(value)


def number(value: float) -> str:
    """Without a decimal point where none is needed."""
    return f"{value:g}" if value != int(value) else str(int(value))


if __name__ == "__main__":
    for stem, text in files():
        (SCENARIOS / f"{stem}.toml").write_text(text)
