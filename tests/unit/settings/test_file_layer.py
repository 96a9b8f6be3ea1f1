"""What is no TOML is shown where it stands, and names of files are relative to the file."""

from __future__ import annotations

import pytest

from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_settings


def problem_of(**kwargs):
    with pytest.raises(ConfigInvalidError) as caught:
        load_settings(**kwargs)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "line", "column", "length", "message", "help_text"),
    [
        ("a = 1\nmode = off", 2, 8, 1, "not TOML: invalid value", 'text stands in quotes: "off"'),
        ('mode = "off\nx = 1', 1, 12, 1, "not TOML: text does not end on its line",
         "the closing quote is missing"),
        ("mode: off", 1, 5, 1, "not TOML: expected '=' after a key in a key/value pair",
         "a key and its value are joined by =, not by a colon"),
        ('mode = "off"\n  mode = "off"', 2, 3, 4, "not TOML: cannot overwrite a value",
         "a key or table may be written once"),
        ("[server]\n[server]\n", 2, 1, 8, "not TOML: cannot declare ('server',) twice",
         "a key or table may be written once"),
        ("a = [1,\n\n", 1, 8, 1, "not TOML: invalid value", ""),
        ("a = tru", 1, 5, 1, "not TOML: invalid value", 'text stands in quotes: "tru"'),
    ],
)  # fmt: skip
def test_wrong_syntax_is_shown(written, text, line, column, length, message, help_text):
    problem = written.problem(text)
    assert (problem.line, problem.column, problem.length) == (line, column, length)
    assert (problem.message, problem.help) == (message, help_text)


def test_what_is_no_text_at_all_is_refused(written):
    written.file.write_bytes(b"a = 1\nb = '\xff'\n")
    problem = problem_of(file=written.file)
    assert "not UTF-8" in problem.message
    assert problem.line == 2
    written.file.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    assert "longer than 4 MiB" in problem_of(file=written.file).message
    written.file.write_text("a = " + "[" * 100_000)
    assert problem_of(file=written.file).message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    problem = problem_of(file=tmp_path / "none.toml")
    assert "No such file" in problem.message
    assert "shedproxy init" in problem.help
    assert "Is a directory" in problem_of(file=tmp_path).message


def test_files_named_in_a_file_are_relative_to_its_folder(written):
    (written.file.parent / "token").write_text("secret")
    loaded = written.load('[control]\ntoken_file = "token"\n[reject.headers]\nkey = "token"')
    assert loaded.settings.control.token_file == str(written.file.parent / "token")
    assert loaded.settings.reject.headers == {"key": "token"}
    loaded = written.load('[server]\nstate_file = "state.json"')
    assert loaded.settings.server.state_file == str(written.file.parent / "state.json")


def test_files_of_snapshots_are_too_and_urls_stay(written):
    for name in ("a.pub", "b.pub"):
        (written.file.parent / name).write_text("key")
    text = '[snapshot]\nsource = "fleet"\nkeys = ["a.pub", "b.pub"]\nfolder = "kept"\n'
    snapshot = written.load(text + 'report = "https://host/reports"').settings.snapshot
    folder = written.file.parent
    assert snapshot.source == str(folder / "fleet")
    assert snapshot.keys == [str(folder / "a.pub"), str(folder / "b.pub")]
    assert snapshot.folder == str(folder / "kept")
    assert snapshot.report == "https://host/reports"
