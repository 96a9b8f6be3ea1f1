"""Cells that keys are spread over must be there."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('default = "alhpa"', '"alhpa"'),
        ("weights = { alhpa = 1 }", "alhpa"),
        ('pins = { "big" = "alhpa" }', '"alhpa"'),
    ],
)
def test_a_cell_that_is_not_there_is_named_with_the_nearest(written, under, line, text):
    problem = written.problem(f'[cells]\nkey = "host"\nsecret = "s"\n{line}\n[cell.alpha]')
    assert problem.message == 'there is no cell "alhpa"'
    assert problem.help == 'did you mean "alpha"?'
    assert under(problem) == text


def test_a_pin_that_no_request_can_have_is_refused(written, under):
    problem = written.problem(
        '[cells]\nkey = "@client"\nsecret = "s"\npins = { "acme" = "alpha" }\n[cell.alpha]'
    )
    assert problem.message == 'no request has the key "acme"'
    assert problem.note == '"acme" is no address, and cells.key is "@client"'
    assert under(problem) == '"acme"'


def test_weights_that_leave_nobody_are_refused(written):
    problem = written.problem('[cells]\nkey = "host"\nweights = { a = 0 }\n[cell.a]')
    assert problem.message == "cells.weights leave no cell for anybody"


ZONES = '["http://a:1 zone=x", "http://b:1 zone=y", "http://c:1 zone=z"]'


def zoned(demand, more=""):
    return (
        f"[cell.default]\nupstream = {ZONES}\ndemand = {demand}\n{more}\n"
        '[cell.default.profile]\nid = "p"\nweight = 2\ncapacity = [200.0]\nknee = [2.0]'
    )


def test_demand_that_would_not_be_carried_without_a_zone_is_refused(written, under):
    problem = written.problem(zoned(201))
    assert problem.message == 'cell "default" cannot lose zone x'
    assert problem.excerpt[-1][1] == "demand = 201"
    assert "200/s would be left of 300/s" in problem.note
    assert "that takes 301.5/s" in problem.note
    assert under(problem) == "201"


def test_demand_that_would_be_carried_or_is_waived_by_name_is_good(written):
    assert not written.warnings(zoned(200))
    assert not written.warnings(zoned(299, 'waive = ["zone-headroom"]'))


def test_without_a_profile_limit_and_baseline_say_what_is_carried(written):
    text = f"[cell.default]\nupstream = {ZONES}\nlimit = {{ max = 30, baseline = '100ms' }}\n"
    assert "200/s would be left of 300/s" in written.problem(f"{text}demand = 201").note
    assert not written.warnings(f"{text}demand = 200")


def test_a_cell_without_upstreams_of_its_own_must_carry_its_demand_on_those_of_the_default(written):
    text = (
        f"[cells]\nkey = 'host'\nsecret = 's'\n[cell.default]\nupstream = {ZONES}\n"
        "waive = ['zone-headroom']\n[cell.a]\n"
    )
    measured = "profile = { id = 'p', weight = 2, capacity = [200.0], knee = [2.0] }\n"
    problem = written.problem(f"{text}{measured}demand = 201")
    assert problem.message == 'cell "a" cannot lose zone x'
    assert not written.warnings(f"{text}{measured}demand = 200")
    bounded = "limit = { max = 30, baseline = '100ms' }\n"
    assert "200/s would be left of 300/s" in written.problem(f"{text}{bounded}demand = 201").note
    problem = written.problem(f"{text}{bounded}demand = 301\nwaive = ['zone-headroom']")
    assert problem.note == "301/s, and its maximum is 300/s"


def test_hands_need_a_secret(written):
    problem = written.problem("[headers]\ntenant = '@client'\n[cell.default]\nhands.size = 2")
    assert problem.message == 'cell "default": hands need cells.secret'


HANDS = "[headers]\ntenant = '@client'\n[cells]\nsecret = 's'\n[cell.default]\n"


def test_an_overlap_of_the_whole_hand_is_no_bound(written):
    problem = written.problem(f"{HANDS}hands = {{ size = 2, overlap_max = 2 }}")
    assert problem.message == 'cell "default": hands.overlap_max must be below hands.size'


def test_more_tenants_than_a_bound_allows_are_refused(written):
    upstreams = [f"http://h{index}:1" for index in range(4)]
    problem = written.problem(
        f"{HANDS}upstream = {upstreams}\n"
        "hands = { size = 2, overlap_max = 0, tenants = ['a', 'b', 'c', 'A'] }"
    )
    assert "not all tenants have hands that share 0 at most" in problem.message
    assert problem.note == "2 of 3 were found one"


def sized(cells, more=""):
    """Cells `a`, whose maximum is 200/s, and `b`, of which nobody knows."""
    return (
        f'[cells]\nkey = "host"\nsecret = "s"\n{cells}\n[cell.b]\nupstream = "http://b:1"\n'
        f'[cell.a]\nupstream = ["http://a:1", "http://a:2"]\n{more}\n'
        '[cell.a.profile]\nid = "p"\nweight = 1\ncapacity = [100.0]\nknee = [2.0]'
    )


def test_a_weight_beyond_the_maximum_of_its_cell_is_refused(written, under):
    assert not written.warnings(sized("weights = { a = 2, b = 1 }\ndemand = 300"))
    problem = written.problem(sized("weights = { a = 2, b = 1 }\ndemand = 306"))
    assert problem.message == 'cell "a" has no room for what is placed on it'
    assert problem.note == "204/s, and its maximum is 200/s"
    assert problem.excerpt[-1][1] == "weights = { a = 2, b = 1 }"
    assert under(problem) == "2"


def test_what_all_ask_for_is_too_much_where_nobody_wrote_weights(written, under):
    problem = written.problem(sized("demand = 402"))
    assert problem.note == "201/s, and its maximum is 200/s"
    assert under(problem) == "402"


def test_a_demand_of_its_own_beyond_the_maximum_is_refused_whatever_is_waived(written, under):
    assert not written.warnings(sized("demand = 402", "demand = 200"))
    problem = written.problem(sized("", "demand = 201\nwaive = ['zone-headroom']"))
    assert problem.message == 'cell "a" has no room for what is placed on it'
    assert under(problem) == "201"


def test_where_nobody_says_upstreams_a_cell_carries_what_was_measured(written):
    text = "[cells]\nkey = 'host'\nsecret = 's'\n[cell.a]\n"
    measured = "profile = { id = 'p', weight = 2, capacity = [200.0], knee = [2.0] }\n"
    assert not written.warnings(f"{text}{measured}demand = 200")
    problem = written.problem(f"{text}{measured}demand = 201")
    assert problem.note == "201/s, and its maximum is 200/s"
    problem = written.problem(f"{text}limit = {{ max = 30, baseline = '100ms' }}\ndemand = 301")
    assert problem.note == "301/s, and its maximum is 300/s"


def test_without_a_zone_a_part_of_what_all_ask_for_must_be_carried_too(written):
    text = f'[cells]\nkey = "host"\nsecret = "s"\ndemand = 201\n{zoned(0)}'.replace(
        "demand = 0\n", ""
    )
    assert "200/s would be left of 300/s" in written.problem(text).note


A_AND_B = '[cell.a]\nupstream = "http://a:1"\n[cell.b]\nupstream = "http://b:1"\n[cell.a.spill]\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('to = ["c"]\nclasses = ["sheddable"]', 'there is no cell "c"'),
        ('to = ["a"]\nclasses = ["sheddable"]', 'cell "a" cannot spill to itself'),
        ('to = ["b"]', 'cell "a": spill.to says nothing without spill.classes'),
        ('classes = ["critical"]', 'cell "a": spill.classes says nothing without spill.to'),
    ],
)
def test_a_cell_spills_to_another_that_there_is_and_says_what(written, line, message):
    assert written.problem(A_AND_B + line).message == message


def test_where_upstreams_are_shared_one_has_no_more_room_than_the_other(written):
    spill = '[cell.a.spill]\nto = ["default"]\nclasses = ["sheddable"]\n'
    problem = written.problem('[cell.default]\nupstream = "http://d:1"\n[cell.a]\n' + spill)
    assert problem.message == 'cell "a" cannot spill to "default"'
    assert "the same serves both" in problem.note
    sound = A_AND_B + 'to = "b"\nclasses = ["sheddable", "critical"]\n[cells]\nkey = "host"\n'
    assert not written.warnings(sound + 'secret = "s"')


def test_before_an_app_no_cell_spills(written):
    spill = '[cell.a.spill]\nto = ["b"]\nclasses = ["sheddable"]\n'
    problem = written.problem("[cell.a]\n[cell.b]\n" + spill)
    assert problem.message == 'cell "a" cannot spill to "b"'
