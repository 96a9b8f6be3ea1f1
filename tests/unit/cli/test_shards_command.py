"""`shards plan`: the law, the bound, and a no where it cannot be."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from shedproxy.cli import main


def invoke(*arguments):
    return CliRunner().invoke(main.app, ["shards", "plan", *arguments])


def test_it_prints_the_law_and_what_it_means_for_so_many_tenants():
    result = invoke("--upstreams", "64", "--hand", "3", "--tenants", "4000")
    assert result.exit_code == 0
    assert "64 upstreams, hands of 3: 41,664 different hands" in result.stdout
    assert "                2          0.00439      17.56" in result.stdout
    assert "              all          2.4e-05    0.09598" in result.stdout


def test_it_prints_the_most_tenants_for_a_bound_and_shows_that_they_can_be_dealt():
    result = invoke("--upstreams", "64", "--hand", "4", "--max-overlap", "2", "--tenants", "300")
    assert result.exit_code == 0
    assert "no two share more than 2: 10,416 tenants at most" in result.stdout
    assert "hands dealt within that bound: 300" in result.stdout


def test_a_bound_that_cannot_be_met_is_refused():
    result = invoke("--upstreams", "8", "--hand", "2", "--max-overlap", "0", "--tenants", "5")
    assert result.exit_code == 1
    assert "refused: it cannot be that no two of 5 tenants" in result.stderr


def test_what_cannot_be_dealt_is_refused():
    result = invoke("--upstreams", "64", "--hand", "4", "--zones", "3", "--versions", "2")
    assert result.exit_code == 1
    assert result.stderr == ("refused: 64 upstreams cannot be spread evenly over 6 compartments\n")


def test_as_json_it_is_one_object_with_its_refusal():
    shape = ("--upstreams", "60", "--hand", "4", "--zones", "3", "--versions", "2")
    result = invoke(*shape, "--max-overlap", "2", "--tenants", "4000", "--json")
    told = json.loads(result.stdout)
    assert (told["hands"], told["tenants_max"], len(told["overlap_law"])) == (12_150, 1350, 5)
    assert "1350 tenants at most" in told["refusal"]
    assert (result.exit_code, result.stderr) == (1, "")


def test_hands_over_a_lattice_are_described():
    result = invoke("--upstreams", "60", "--hand", "4", "--zones", "3", "--versions", "2")
    assert "2 in each of 2 compartments that share no zone nor version" in result.stdout
