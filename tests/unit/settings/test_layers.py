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
        CONTROL_PLANE="http://10.0.0.2:9800",
        CONTROL_PLANE_TOKEN_FILE="root.token",
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
