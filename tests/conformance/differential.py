"""The same bytes through other proxies, and in few words what each makes of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance.case import AnswerCase, Case, Read, RequestCase
from conformance.cases import TOPICS
from conformance.fronts import start
from conformance.observe import Observation, observe
from conformance.recorder import Recorder
from conformance.strict import Message

__all__ = ["COMPARED", "OBSERVED", "expected_words", "observe_front", "recorded", "words"]

OBSERVED = Path(__file__).with_name("observed.json")
OURS = {"Paths and rules", "What is added, replaced and stripped"}
"""Topics in which every proxy has its own rules."""
COMPARED: list[Case] = [
    case
    for topic, cases in TOPICS.items()
    if topic not in OURS
    for case in cases
    if case.bench == "plain"
]
LANES = 16
"""Recording upstreams side by side, because some peers let some cases wait."""
PATIENCE_S = 0.25


def observe_front(name: str, cases: list[Case] = COMPARED) -> dict[str, str]:
    """What a peer makes of each of these cases, by the case's name."""
    recorders = [Recorder() for _ in range(LANES)]
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        peer, ports = start(name, Path(scratch), [each.port for each in recorders])
        with peer, ThreadPoolExecutor(LANES) as pool:
            lanes = [
                pool.submit(_play, port, recorder, cases[lane::LANES])
                for lane, (port, recorder) in enumerate(zip(ports, recorders, strict=True))
            ]
            found = [lane.result() for lane in lanes]
    for recorder in recorders:
        recorder.close()
    return {case: said for lane in found for case, said in lane.items()}


def _play(port: int, recorder: Recorder, cases: list[Case]) -> dict[str, str]:
    return {
        case.name: words(case, observe(port, recorder, case, patience=PATIENCE_S)) for case in cases
    }


def recorded() -> dict[str, dict[str, str]]:
    """What was observed when the document was written: by peer, the cases that differ from ours.

    The member "versions" has the version of each.
    """
    found: dict[str, dict[str, str]] = json.loads(OBSERVED.read_text())
    return found


def expected_words(case: Case) -> str:
    """What the table promises, in the words of `words`."""
    if isinstance(case, RequestCase):
        return _request_words(case.statuses, ["as sent"] * len(case.reads), is_kept=case.is_kept)
    assert isinstance(case, AnswerCase)
    return _answer_words(case.statuses, "", is_cut=case.is_cut, is_reused=case.is_reused)


def words(case: Case, seen: Observation) -> str:
    """What a proxy made of a case."""
    last = seen.answers[-1] if seen.answers else None
    says_close = last is not None and "close" in (last.get("connection") or "")
    if isinstance(case, RequestCase):
        if any("answer" not in problem for problem in seen.problems):
            return "passes on what is malformed"
        readings = [
            _reading(request, case.reads[n] if n < len(case.reads) else None)
            for n, request in enumerate(seen.requests)
        ]
        is_kept = None if seen.end == "waits" and not says_close else seen.end == "kept"
        return _request_words(seen.statuses, readings, is_kept=is_kept)
    assert isinstance(case, AnswerCase)
    if seen.problems or (last is None and seen.received):
        return "passes on what is malformed"
    if last is None:
        return "no answer" if seen.end == "waits" else "closes"
    odd = "" if last.status >= 500 else _answer_oddity(case, last)
    return _answer_words(
        seen.statuses, odd, is_cut=not last.is_whole, is_reused=bool(seen.is_reused)
    )


def _request_words(statuses: tuple[int, ...], readings: list[str], *, is_kept: bool | None) -> str:
    said = ", ".join(str(status) for status in statuses) or "no answer"
    end = {True: "", False: ", closes", None: ", waits"}[is_kept]
    if len(statuses) > 3:
        said = f"{len(statuses)} answers, the last {statuses[-1]}"
    if not readings:
        return said + end
    odd = sorted({reading for reading in readings if reading != "as sent"})
    count = "" if len(readings) == 1 else f" {len(readings)}"
    verb = f"passes{count}" + (f" ({'; '.join(odd)})" if odd else "")
    if all(status == 200 for status in statuses) and len(statuses) == len(readings):
        return verb + end
    return f"{verb}, {said}{end}"


def _reading(request: Message, read: Read | None) -> str:
    method, target, _ = request.start
    if read is None:
        return f"{method} {target}"[:24]
    if method != read.method or target != read.target:
        return f"as {method} {target[:40]}"
    if request.body != read.body:
        return f"body of {len(request.body)} bytes"
    if request.get("host") != read.host and read.host != "upstream":
        return f"Host {request.get('host')}"
    return _field_oddity(request, read.fields) or "as sent"


def _field_oddity(message: Message, expected: Mapping[str, str | None]) -> str:
    for name, value in expected.items():
        found = message.get(name)
        if name == "transfer-encoding" and found is None:
            continue  # a body that was gathered first has a length
        if name not in {"via", "date", "content-length"} and found != value:
            if value is not None:
                return f"without {name}" if found is None else f"another {name}"
            return f"{name}: {(found or '')[:40]}"
    return ""


def _answer_oddity(case: AnswerCase, answer: Message) -> str:
    if answer.body != case.body:
        return f"body of {len(answer.body)} bytes"
    if tuple(answer.trailers) != case.trailers:
        names = ", ".join(name for name, _ in answer.trailers)
        return f"trailers {names}" if names else "without trailers"
    return _field_oddity(answer, case.fields)


def _answer_words(statuses: tuple[int, ...], odd: str, *, is_cut: bool, is_reused: bool) -> str:
    said = ", ".join(str(status) for status in statuses)
    parts = [said + (f" ({odd})" if odd else "")]
    if is_cut:
        parts.append("cut")
    if is_reused:
        parts.append("reuses")
    return ", ".join(parts)
