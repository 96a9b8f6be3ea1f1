"""The folder of a calibration: its plan, a line for each step as it is measured, and the result.

A step is on disk before the next one begins, so that an interrupted calibration can go on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shedproxy.calibration.measurement import Plan, Step
from shedproxy.calibration.results import Calibration, RouteFit, encode_calibration
from shedproxy.calibration.run import Measured
from shedproxy.errors import DocumentInvalidError, StartupError
from shedproxy.loadgen.requests import RequestSet, RequestSetError
from shedproxy.snapshot import from_plain, to_plain

__all__ = ["REPORT_FILE", "CalibrationFolder"]

REPORT_FILE = "report.json"
_PLAN_FILE = "plan.json"
_STEPS_FILE = "steps.jsonl"
_OF_REPORT = (REPORT_FILE, "report.html", "report.md")
"""What is made when a calibration ends."""


class CalibrationFolder:
    """A folder that is made when something is written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written_count = 0

    @property
    def report(self) -> Path:
        """Where the result is."""
        return self.path / REPORT_FILE

    def begin(self, plan: Plan, target: str, requests: RequestSet) -> Measured:
        """Keep the plan and what is sent; what an earlier calibration left there gives way.

        Returns nothing measured yet.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        head = {"target": target, "plan": to_plain(plan), "requests": requests.as_plain()}
        (self.path / _PLAN_FILE).write_text(json.dumps(head, indent=1))
        (self.path / _STEPS_FILE).write_text("")
        for name in _OF_REPORT:
            (self.path / name).unlink(missing_ok=True)
        return Measured()

    def keep(self, measured: Measured) -> None:
        """Add the steps that are not kept yet."""
        with (self.path / _STEPS_FILE).open("a") as lines:
            for step in measured.steps[self._written_count :]:
                line: dict[str, Any] = {"step": to_plain(step)}
                if len(measured.routes) and step.index == 0:
                    line["routes"] = to_plain(measured.routes)
                lines.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._written_count = len(measured.steps)

    def resume(self) -> tuple[str, Plan, RequestSet, Measured]:
        """Target, plan, requests and steps of an interrupted calibration.

        Raises:
            StartupError: there is none, or it cannot be read.
        """
        measured = Measured()
        try:
            head = json.loads((self.path / _PLAN_FILE).read_text())
            plan = from_plain(Plan, head["plan"])
            for line in self._whole_lines():
                entry = json.loads(line)
                measured.steps.append(from_plain(Step, entry["step"]))
                if "routes" in entry:
                    measured.routes = tuple(
                        from_plain(RouteFit, route) for route in entry["routes"]
                    )
            target = str(head["target"])
            requests = RequestSet.from_plain(head["requests"])
        except OSError as error:
            raise StartupError(f"nothing to go on with in {self.path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, DocumentInvalidError, RequestSetError) as error:
            raise StartupError(f"{self.path} cannot be gone on with: {error}") from error
        self._written_count = len(measured.steps)
        return target, plan, requests, measured

    def _whole_lines(self) -> list[str]:
        """The steps; a last one that was not written to its end is taken out of the file."""
        file = self.path / _STEPS_FILE
        text = file.read_text()
        whole, end, cut_off = text.rpartition("\n")
        if cut_off:
            file.write_text(whole + end)
        return whole.splitlines()

    def finish(self, calibration: Calibration) -> Path:
        """Write the result; returns where."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(encode_calibration(calibration), separators=(",", ":"))
        self.report.write_text(text + "\n")
        return self.report
