"""A command finds the scenario that is meant, and says what is wrong with one, line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from shedproxy.cli import scenario_files
from shedproxy.cli.scenario_files import (
    complete_scenario,
    find_family,
    find_scenario,
    find_suite,
    is_pattern,
    read_scenario,
    read_suite,
)
from shedproxy.errors import ConfigInvalidError, StartupError


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and a package without a suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scenario_files, "_SHIPPED", tmp_path / "shipped")
    return tmp_path


def write(file: Path, text: str = "duration_s = 3\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_suite_of_the_tree_comes_before_the_shipped_one(nowhere: Path) -> None:
    write(nowhere / "shipped/a.toml")
    assert find_suite() == nowhere / "shipped"
    write(scenario_files.SUITE / "a.toml")
    assert find_suite() == scenario_files.SUITE


def test_without_any_suite_the_way_out_is_named() -> None:
    with pytest.raises(StartupError, match="simulate DIR"):
        find_suite()
    with pytest.raises(StartupError, match="no folder gone"):
        find_suite(Path("gone"))


def test_a_scenario_is_found_by_path_and_by_name(nowhere: Path) -> None:
    file = write(nowhere / "mine.toml")
    assert find_scenario("mine.toml") == Path(file.name)
    suite_file = write(scenario_files.SUITE / "overload.toml")
    assert find_scenario("overload") == suite_file


def test_the_nearest_name_is_offered_for_one_that_is_not_there() -> None:
    write(scenario_files.SUITE / "overload.toml")
    with pytest.raises(StartupError, match="did you mean overload"):
        find_scenario("overlaod")
    with pytest.raises(StartupError, match=r"no scenario file x/overload\.toml"):
        find_scenario("x/overload.toml")


def test_a_name_like_no_other_is_told_where_all_are() -> None:
    write(scenario_files.SUITE / "overload.toml")
    with pytest.raises(StartupError, match="simulate --list names them all"):
        find_scenario("zebra")


def test_a_family_is_what_matches_in_the_suite() -> None:
    for name in ("meta-b", "meta-a", "other"):
        write(scenario_files.SUITE / f"{name}.toml")
    assert [file.stem for file in find_family("meta-*")] == ["meta-a", "meta-b"]
    with pytest.raises(StartupError, match=r"no scenario in .* matches met\?"):
        find_family("met?")


def test_a_shell_completes_names_of_the_suite_and_files(nowhere: Path) -> None:
    assert complete_scenario("meta") == []
    for name in ("meta-b", "meta-a", "other"):
        write(scenario_files.SUITE / f"{name}.toml")
    write(nowhere / "metal.toml")
    write(nowhere / "meta.txt")
    write(nowhere / "metas" / "x.toml")
    assert complete_scenario("meta") == ["meta-a", "meta-b", "metal.toml", "metas/"]
    assert complete_scenario("metas/") == ["metas/x.toml"]
    assert complete_scenario("gone/x") == []


def test_a_file_whose_name_looks_like_a_pattern_is_itself() -> None:
    write(Path("a[1].toml"))
    assert [is_pattern(named) for named in ("a*", "a?", "[ab]", "a[1].toml", "ab")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_a_scenario_is_named_after_its_file() -> None:
    assert read_scenario(write(Path("steady.toml"))).name == "steady"


def test_problems_stand_at_their_lines_in_the_order_of_the_file() -> None:
    file = write(Path("bad.toml"), "duration_s = 0\ntitel = 1\n[[client]]\nload = 'x'\n")
    with pytest.raises(ConfigInvalidError) as caught:
        read_scenario(file)
    places = [(p.source, p.line, p.column, p.excerpt[-1][1]) for p in caught.value.problems]
    assert places == [
        ("bad.toml", 1, 14, "duration_s = 0"),
        ("bad.toml", 2, 1, "titel = 1"),
        ("bad.toml", 4, 8, "load = 'x'"),
    ]


def test_names_that_there_are_not_are_told_at_their_lines() -> None:
    """What is bound by them would never be looked at."""
    file = write(
        Path("names.toml"),
        'controllers = ["vegs"]\n[[client]]\nload = 1\n'
        '[[expect]]\nmetric = "goodput_ration"\nat_least = 0.9\n'
        '[[expect]]\nmetric = "zzz"\nat_most = 1\nby = ["shedproxy", "xyz"]\n',
    )
    with pytest.raises(ConfigInvalidError) as caught:
        read_scenario(file)
    found = [(p.line, p.message, p.note or p.help[:10]) for p in caught.value.problems]
    assert found == [
        (1, "there is no controller vegs", "did you mean vegas?"),
        (5, "there is no figure goodput_ration", "did you mean goodput_ratio?"),
        (8, "there is no figure zzz", "there are:"),
        (10, "there is no controller xyz", "there are:"),
    ]


def test_text_that_is_no_toml_and_a_file_that_is_not_there_are_problems() -> None:
    with pytest.raises(ConfigInvalidError, match="not TOML"):
        read_scenario(write(Path("no.toml"), "a = = 1\n"))
    with pytest.raises(ConfigInvalidError, match="there is no file gone"):
        read_scenario(Path("gone.toml"))


def test_a_suite_is_read_by_name_and_all_its_problems_are_told(nowhere: Path) -> None:
    suite = nowhere / "suite"
    write(suite / "b.toml")
    write(suite / "a.toml")
    assert [scenario.name for scenario in read_suite(suite)] == ["a", "b"]
    write(suite / "c.toml", "name = 'a'\n")
    write(suite / "d.toml", "name = 3\n")
    with pytest.raises(ConfigInvalidError) as caught:
        read_suite(suite)
    assert [problem.message for problem in caught.value.problems] == [
        'a second scenario is called "a"',
        "name must be text",
    ]


def test_an_empty_suite_is_an_error(nowhere: Path) -> None:
    with pytest.raises(StartupError, match="has no scenario files"):
        read_suite(nowhere)
