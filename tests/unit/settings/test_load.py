"""Flags win over environment, that over the file, that over defaults; errors come all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from shedproxy.core import Mode
from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_document, load_settings, require_upstream
from shedproxy.snapshot import Document


def test_without_anything_the_document_is_the_default():
    loaded = load_settings()
    assert loaded.document == Document()
    assert loaded.sources == {}
    assert loaded.warnings == ()


def test_each_source_wins_over_the_ones_below(written):
    text = 'mode = "off"\n[server]\nworkers = 2\nlisten = ":1"\n'
    environ = {"SHEDPROXY_MODE": "observe", "SHEDPROXY_SERVER__WORKERS": "3"}
    loaded = written.load(text, environ=environ, overrides={"mode": "enforce"})
    assert loaded.settings.mode == "enforce"
    assert loaded.settings.server.workers == 3
    assert loaded.settings.server.listen == [":1"]
    assert loaded.sources == {
        "mode": "flag --enforce",
        "server.workers": "SHEDPROXY_SERVER__WORKERS",
        "server.listen": f"{written.file}:4",
    }


def test_a_flag_that_was_not_given_changes_nothing(written):
    assert written.load('mode = "off"', overrides={"mode": None}).settings.mode == "off"


def test_a_limit_by_flag_is_fixed_and_wins_over_the_table_in_the_file(written):
    text = "[cell.default.limit]\nmax = 20\n"
    limit = written.load(text, overrides={"cell.default.limit": 5}).document.policy.cells[0].limit
    assert (limit.algorithm, limit.initial, limit.minimum, limit.maximum) == ("fixed", 5, 5, 5)


def test_every_value_in_force_has_its_source(written):
    loaded = written.load('[cell.a]\nlimit.baseline = "21ms"\n[[rule]]\ncell = "a"\n')
    found = {name: (value, source) for name, value, source in loaded.effective()}
    assert found["mode"] == ("enforce", "default")
    assert found["server.timeouts.client_idle"] == ("75s", "default")
    assert found["cell.a.limit.baseline"] == ("21ms", f"{written.file}:2")
    assert found["cell.a.limit.max"] == (1000, "default")
    assert found["rule[0].cell"] == ("a", f"{written.file}:4")
    assert found["cell.a.limit.initial"] == (None, "default")


def test_a_flag_and_an_argument_are_named_as_such(written):
    loaded = written.load(
        "[cell.default.limit]\nmax = 20\n",
        overrides={"cell.default.limit": 5, "cell.default.upstream": ["http://a"], "mode": "off"},
    )
    assert loaded.sources == {
        "mode": "flag --off",
        "cell.default.upstream": "argument UPSTREAM",
        "cell.default.limit.algorithm": "flag --limit",
        "cell.default.limit.initial": "flag --limit",
    }


def test_a_short_form_is_the_source_of_what_it_stands_for(written):
    sources = written.load("[cell.default]\nlimit = 64\n").sources
    assert sources["cell.default.limit.initial"] == f"{written.file}:2"
    assert "cell.default.limit.max" not in sources


def test_a_secret_is_never_shown(written):
    found = {name: value for name, value, _ in written.load('[headers]\nsalt = "x"').effective()}
    assert found["headers.salt"] == "***"
    assert dict(found)["headers.tenant"] == ""
    unset = {name: value for name, value, _ in written.load("").effective()}
    assert unset["headers.salt"] == ""


BROKEN = """\
mode = "observed"
[server]
listen = ["0.0.0.0:8080", "8081"]
workers = "4"
[cell.default]
upstream = ["localhost:8000", "http://ok:1"]
[cell.default.limit]
min = 96
max = 64
[cell.checkout.queue]
max_lenght = 32
[[rule]]
cell = "chekout"
match.path = ["/a", "b"]
[[rule]]
cost = 8
limit = 4
"""


def test_every_problem_comes_in_one_run_in_the_order_of_the_file(written):
    environ = {"SHEDPROXY_SERVER__DRAIN__GRACE": "5"}
    problems = written.problems(BROKEN, environ=environ)
    assert [(problem.line, problem.column) for problem in problems] == [
        (0, 32),
        (1, 8),
        (3, 27),
        (4, 11),
        (6, 13),
        (9, 7),
        (11, 1),
        (13, 8),
        (14, 21),
        (17, 9),
    ]


def test_a_refused_value_is_not_blamed_twice(written):
    """`max` stands at its default after it was refused; that default is not compared."""
    problem = written.problem('[cell.default.limit]\nmin = 2000\nmax = "many"\n')
    assert problem.line == 3


def test_a_broken_file_does_not_hide_a_broken_environment(written):
    problems = written.problems("mode = off", environ={"SHEDPROXY_SERVER__WORKERS": "0"})
    assert [problem.source for problem in problems] == ["environment", str(written.file)]


def test_load_document_reads_the_file_and_the_environment(written, monkeypatch):
    monkeypatch.setenv("SHEDPROXY_MODE", "observe")
    written.file.write_text("[cell.default]\nlimit = 7\n")
    document = load_document(str(written.file))
    assert document.policy.mode is Mode.OBSERVE
    assert document.policy.cells[0].limit.initial == 7


def test_running_needs_an_upstream(written):
    require_upstream(written.load('[cell.default]\nupstream = "http://a:1"'))
    with pytest.raises(ConfigInvalidError, match="no upstream"):
        require_upstream(written.load(""))


def test_a_list_with_one_wrong_entry_leaves_the_other_problems_in_place(written):
    problems = written.problems(
        '[server]\nlisten = ["x", "y"]\n[[rule]]\nmatch.path = ["a", "b"]\nfoo = 1\n'
    )
    assert [problem.line for problem in problems] == [2, 2, 4, 4, 5]


def test_a_text_is_read_in_place_of_its_file_with_its_lines():
    loaded = load_settings(Path("edge.toml"), text='[cell.default]\nupstream = "http://h:1"\n')
    assert loaded.sources["cell.default.upstream"] == "edge.toml:2"
    with pytest.raises(ConfigInvalidError) as caught:
        load_settings(Path("edge.toml"), text="[cell.default]\nlimit = 0\n")
    (problem,) = caught.value.problems
    assert (problem.source, problem.line) == ("edge.toml", 2)
