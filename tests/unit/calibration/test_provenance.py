"""Where a calibration was made."""

from __future__ import annotations

from shedproxy.calibration.provenance import machine_facts, make_provenance, timestamp


def test_a_calibration_names_its_machine_and_time() -> None:
    made = make_provenance(
        target="http://127.0.0.1:1", command="shedproxy calibrate", started_s=1_700_000_000.0
    )
    assert made.started == timestamp(1_700_000_000) == "2023-11-14T22:13:20Z"
    assert made.id.startswith("2023-11-14T2213Z-")
    assert {name for name, _ in made.machine} == {
        "cpu", "cores", "quota", "system", "python", "load",
    }  # fmt: skip
    assert made.is_complete


def test_the_fingerprint_is_of_machine_and_build_alone() -> None:
    def fingerprint(build: str) -> str:
        return make_provenance(
            target="x", command="y", started_s=0.0, target_build=build, stopped_by="z"
        ).fingerprint

    assert fingerprint("a") == fingerprint("a") != fingerprint("b")
    assert all(value for _, value in machine_facts())
