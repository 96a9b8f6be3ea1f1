"""Files, variables and flags are read as people write them, and each value is found again."""

from __future__ import annotations

import pytest

from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_settings


def env(**variables):
    return {f"SHEDPROXY_{name}": value for name, value in variables.items()}


def test_variables_are_converted_to_what_stands_there():
    settings = load_settings(
        environ=env(
            SERVER__LISTEN=":80, unix:/run/x",
            SERVER__WORKERS="3",
            SERVER__PRESERVE_HOST="false",
            SERVER__TRUSTED_PROXIES="",
            SERVER__HEAD_SIZE_MAX="32KiB",
            TELEMETRY__SERVICE_NAME="42",
            HEADERS__COHORT='["x-a", "x-b"]',
            LOG__ACCESS_SHARE="0.5",
            CELL__DEFAULT__LIMIT="64",
            CELL__DEFAULT__DEADLINE__DEFAULT="2s",
            RULE='[{name = "a", limit = 0}]',
        )
    ).settings
    assert settings.server.listen == [":80", "unix:/run/x"]
    assert settings.server.workers == 3
    assert settings.server.preserve_host is False
    assert settings.server.trusted_proxies == []
    assert settings.server.head_size_max == 32 * 1024
    assert settings.telemetry.service_name == "42"
    assert settings.headers.cohort == ["x-a", "x-b"]
    assert settings.log.access_share == 0.5
    assert settings.cell["default"].limit.initial == 64
    assert settings.cell["default"].deadline.default == 2_000_000_000
    assert settings.rule[0].limit == 0


def test_a_variable_reaches_into_a_table_of_the_file(written):
    loaded = written.load(
        "[cell.check-out.limit]\nmin = 2\nmax = 9\n[[rule]]\ncell = 'check-out'\n",
        environ=env(CELL__CHECK_OUT__LIMIT__MAX="40"),
    )
    limit = loaded.settings.cell["check-out"].limit
    assert (limit.min, limit.max) == (2, 40)


def test_the_more_exact_variable_wins():
    environ = env(CELL__DEFAULT__LIMIT="64", CELL__DEFAULT__LIMIT__MAX="80")
    assert load_settings(environ=environ).settings.cell["default"].limit.max == 80


def test_variables_of_kubernetes_and_of_the_command_are_no_settings():
    environ = env(
        PORT="tcp://10.0.0.1:80",
        SERVICE_HOST="10.0.0.1",
        CONTROL_SERVICE_PORT_HTTP="9900",
        PORT_80_TCP_ADDR="10.0.0.1",
        CONFIG="/etc/x.toml",
    )
    assert load_settings(environ=environ).warnings == ()


def test_an_unknown_variable_is_warned_about(under):
    (problem,) = load_settings(environ=env(SERVRE__WORKERS="1", FOO="2") | {"OTHER": "x"}).warnings[
        1:
    ]
    assert problem.message == "SHEDPROXY_SERVRE__WORKERS is not a setting"
    assert problem.note == "did you mean SHEDPROXY_SERVER__WORKERS?"
    assert under(problem) == "SHEDPROXY_SERVRE__WORKERS"


def problem_of(**kwargs):
    with pytest.raises(ConfigInvalidError) as caught:
        load_settings(**kwargs)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("name", "value", "caret", "message"),
    [
        ("SERVER__WORKERS", "many", "many", "server.workers must be a whole number"),
        ("SERVER__WORKERZ", "1", "SHEDPROXY_SERVER__WORKERZ", 'unknown key "workerz" in [server]'),
        ("SERVER", "x", "x", "server must be a table"),
        ("MODE", "", "", "mode must be one of enforce, observe, off"),
    ],
)
def test_a_wrong_variable_is_shown(under, name, value, caret, message):
    problem = problem_of(environ=env(**{name: value}))
    assert problem.source == "environment"
    assert problem.message == message
    assert under(problem).strip("= ") == (caret or f"SHEDPROXY_{name}")


@pytest.mark.parametrize(
    ("key", "value", "shown", "caret"),
    [
        ("server.workers", 0, "--workers 0", "0"),
        ("cell.default.limit", 0, "--limit 0", "0"),
        ("cell.default.upstream", ["x"], "x", "x"),
        ("server.listen", ("80",), "--listen 80", "80"),
        ("mode", "on", "--on", "--on"),
        ("log.level", "loud", "--set log.level loud", "loud"),
    ],
)
def test_a_wrong_flag_is_shown(under, key, value, shown, caret):
    problem = problem_of(overrides={key: value})
    assert problem.source == "command line"
    assert problem.excerpt == ((0, shown),)
    assert under(problem) == caret


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
