"""What a policy would have refused of the last hour, at least."""

from __future__ import annotations

import pytest
from harness.snapshots import document_of

from shedproxy.settings import load_settings
from shedproxy.supervisor.plausibility import forecast
from shedproxy.supervisor.recent_traffic import Head, Minute, Served

KEY = ("default", "critical")


def hour(*, requests: float = 600, work_s: float = 300, paths: tuple[str, ...] = ("/a", "/b")):
    """An hour of minutes: `work_s` over 60 are the slots in use."""
    heads = tuple(Head("GET", path, *KEY) for path in paths)
    return [Minute({KEY: Served(requests, work_s)}, heads)] * 60


def of(text: str, tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text(text)
    return load_settings(file).document


def test_a_sane_policy_refuses_nothing():
    found = forecast(document_of(64), hour())
    assert (found.served, found.refused, found.share) == (36_000, 0, 0)


def test_a_limit_below_the_slots_in_use_refuses_the_rest():
    found = forecast(document_of(2), hour(work_s=600))  # ten slots
    assert found.share == pytest.approx(0.8)
    assert found.causes == ("limit of cell default: 80%",)


def test_an_adaptive_limit_is_judged_by_its_maximum(tmp_path):
    document = of("[cell.default.limit]\nmin = 1\nmax = 5\n", tmp_path)
    assert forecast(document, hour(work_s=600)).share == pytest.approx(0.5)


def test_a_rule_that_refuses_always_takes_its_share_of_the_heads(tmp_path):
    document = of('[[rule]]\nname = "no"\nmatch.path = "/a"\nlimit = 0\n', tmp_path)
    found = forecast(document, hour())
    assert found.share == pytest.approx(0.5)
    assert found.causes == ("limit of rule no: 50%",)


def test_few_heads_prove_nothing_about_rules(tmp_path):
    document = of('[[rule]]\nmatch.path = "/**"\nlimit = 0\n', tmp_path)
    minutes = [*hour(paths=())[:59], hour()[0]]
    assert forecast(document, minutes).share == 0


def test_a_class_that_is_refused_is_refused(tmp_path):
    document = of("[classes.limits]\ncritical = 0\n", tmp_path)
    found = forecast(document, hour())
    assert found.share == 1
    assert found.causes == ("limit of class critical in cell default: 100%",)


def test_a_rule_may_move_requests_into_another_class_and_cell(tmp_path):
    text = '[cell.small]\nlimit = 1\n[[rule]]\nmatch.path = "/a"\ncell = "small"\n'
    document = of(text, tmp_path)
    found = forecast(document, hour(work_s=480))  # eight slots, four of them for /a
    assert found.share == pytest.approx(0.5 * 0.75)


def test_control_requests_are_not_counted(tmp_path):
    document = of('[[rule]]\nmatch.path = "/**"\nlane = "control"\nlimit = 0\n', tmp_path)
    assert forecast(document, hour()).share == 0


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_who_refuses_nobody_refuses_nobody(mode):
    assert forecast(document_of(1, mode=mode), hour(work_s=6000)).share == 0


def test_little_traffic_proves_nothing():
    assert forecast(document_of(1), hour(requests=1, work_s=600)).share == 0
    assert forecast(document_of(1), []).share == 0


def test_traffic_of_a_cell_that_is_no_more_goes_to_the_first():
    key = ("gone", "critical")
    minutes = [Minute({key: Served(600, 600)}, (Head("GET", "/", *key),))] * 60
    assert forecast(document_of(5), minutes).share == pytest.approx(0.5)
