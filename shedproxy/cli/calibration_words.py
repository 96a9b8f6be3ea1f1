"""What a calibration report says in sentences, on the page and in Markdown alike."""

from __future__ import annotations

from shedproxy.calibration.results import Calibration
from shedproxy.cli.calibration_numbers import show_length

__all__ = ["method_notes", "reasons_of", "reproduce", "toml_of", "validity"]


_NOTES = """\
Open steps: arrivals are {arrivals} and wait for nothing; latency counts from the intended send \
time, so that neither a stalled service nor a late generator hides a wait (coordinated omission).
Closed steps: a fixed number of requests at a time. They give throughput against concurrency only; \
none of their percentiles is quoted as latency under load.
The curve is Gunther's X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)) by least squares; \
intervals are from resampling the passes. A best concurrency is given only where kappa's interval \
leaves zero out.
What a step has before it is steady is cut off (MSER). A step is void when the generator was late, \
too busy or sent too little.
Percentiles of several passes are of their merged histograms, never averages.
A queue near capacity takes longer than a step to become as long as it gets: the rate that keeps \
the objective is bounded by what capacity and scatter make of it in the long run (Kingman 1962); \
its interval reaches up to what the steps showed.
It is invalid for another build of the service, another machine, another mix of requests, or a \
dependency that answers differently: calibrate again then, or let drift detection say so."""


_OBSERVED_NOTES = """\
Nothing was played. A point is ten seconds or more of live traffic: answers per second, and their \
mean latency at the upstream; together they tell how many were in flight (Little's law).
Slots and service time are those of Erlang's queue, with Allen's and Cunneen's correction for \
scatter, that the points bear out; the interval holds all that do as well within chance, and 5 % \
for what such a queue leaves out.
A knee is claimed only where requests were seen to wait inside the service and three quarters of \
its capacity were in use; else the most that was carried is a floor, and nothing more.
Latency at the upstream ends with the last byte to the client: slow clients look like a slow \
service.
It is invalid for another build of the service, another machine, another mix of requests, or a \
dependency that answers differently."""


def validity(calibration: Calibration) -> str:
    """How the measurement was made, in one sentence, and how long it holds."""
    made = calibration.provenance
    thresholds = calibration.thresholds
    how = {
        "load": f"Measured with {calibration.plan.engine} load",
        "observed": "Fitted to what a live proxy observed",
        "import": "Read from another tool's files",
    }.get(made.source, "Measured")
    until = f", good for {show_length(thresholds.expires_after_ns)}" if thresholds else ""
    slo = f" Objective: {calibration.plan.slo.text}." if calibration.plan.slo.text else ""
    observed = calibration.observed
    what = (
        f"{len(calibration.steps)} steps"
        if observed is None
        else (f"{observed.point_count} points of {show_length(observed.span_ns)}")
    )
    return f"{how}, {what}{until}.{slo}"


def reasons_of(calibration: Calibration) -> list[str]:
    """Why it is believed so far and no further, each once; what is missing is called that."""
    missing, stopped_by = calibration.findings.missing, calibration.provenance.stopped_by
    words = dict.fromkeys(missing, "Not enough data: ")
    words |= {stopped_by: "Stopped early: "} if stopped_by else {}
    reasons = dict.fromkeys((*calibration.verdict.reasons, *words))
    return [words.get(each, "") + each for each in reasons]


def method_notes(calibration: Calibration) -> list[str]:
    """What was done, and what would make it invalid."""
    if calibration.observed is not None:
        return _OBSERVED_NOTES.splitlines()
    return [note.format(arrivals=calibration.plan.arrivals) for note in _NOTES.splitlines()]


def reproduce(calibration: Calibration) -> str:
    """The command, with what it ran on."""
    made = calibration.provenance
    packages = " ".join(f"{name}=={version}" for name, version in made.packages if version)
    lines = [made.command]
    if packages:
        lines.insert(0, f"# {packages}")
    return "\n".join(lines)


def toml_of(calibration: Calibration) -> str:
    """The changes as TOML, a table for each; empty where nothing changes."""
    thresholds = calibration.thresholds
    tables: dict[str, list[str]] = {}
    for change in thresholds.changes if thresholds else ():
        table, _, key = change.key.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {change.after}  # {change.reason}")
    parts = [
        "\n".join([f"[{table}]", *lines] if table else lines) for table, lines in tables.items()
    ]
    return "\n\n".join(parts)
