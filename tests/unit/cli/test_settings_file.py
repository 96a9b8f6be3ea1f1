"""One way to find the file, for every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from shedproxy.cli.settings_file import find_file


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHEDPROXY_CONFIG", raising=False)


def test_named_then_environment_then_here_then_none(monkeypatch):
    assert find_file(None) is None
    Path("shedproxy.toml").touch()
    assert find_file(None) == Path("shedproxy.toml")
    monkeypatch.setenv("SHEDPROXY_CONFIG", "other.toml")
    assert find_file(None) == Path("other.toml")
    assert find_file(Path("given.toml")) == Path("given.toml")


def test_a_link_that_leads_nowhere_is_not_passed_over():
    Path("shedproxy.toml").symlink_to("gone.toml")
    assert find_file(None) == Path("shedproxy.toml")
