"""What contradicts itself in how hosts are checked and replaced, and where it stands."""

from __future__ import annotations

import pytest

from shedproxy.errors import ConfigInvalidError

STATE = '[server]\nstate_file = "s"\n'
CASES = [
    ('[cell.a.check]\ninterval = "1s"\ntimeout = "2s"', 3, "longer than check.interval"),
    (STATE + '[replacement]\nurl = "http://h/"\ncommand = ["x"]\nsecret_file = "k"', 5,
     "are both given"),
    ('[replacement]\ncommand = ["x"]', 2, "needs server.state_file"),
    (STATE + '[replacement]\nurl = "http://h/"\nsecret_file = "none"', 5, "no such file"),
    (STATE + '[replacement]\nurl = "http://h/"', 4, "needs secret_file beside it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), CASES)
def test_a_contradiction_is_found_where_it_stands(written, tmp_path, text, line, message):
    (tmp_path / "k").write_text("key")
    with pytest.raises(ConfigInvalidError) as refused:
        written.load(text)
    (problem,) = refused.value.problems
    assert message in problem.message
    assert problem.line == line


def test_what_fits_together_is_taken(written, tmp_path):
    (tmp_path / "k").write_text("key")
    written.load(STATE + '[replacement]\nurl = "http://h/"\nsecret_file = "k"')
    written.load(STATE + '[replacement]\ncommand = ["x"]')
