"""One meaning per number, and the documentation knows all of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from shedproxy.cli import exit_codes, main

README = Path(__file__).resolve().parents[3] / "README.md"


def test_no_two_of_them_are_one_number():
    codes = [getattr(exit_codes, name) for name in exit_codes.__all__]
    assert len({*codes}) == len(codes)
    assert 0 not in codes


def test_readme_says_what_each_of_them_means():
    [told] = re.findall(r"Exit codes of all commands: (.*?)\. ", README.read_text(), re.DOTALL)
    numbers = {int(number) for number in re.findall(r"(\d+) \w", told)}
    assert numbers == {0, *(getattr(exit_codes, name) for name in exit_codes.__all__)}


URL = "http://127.0.0.1:9"
LOAD = f"load {URL} --for 1s"
NAMING_A_FILE = (
    "check FILE",
    f"run {URL} --config FILE",
    f"{LOAD} --scenario FILE",
    f"{LOAD} --log FILE",
    f"{LOAD} --rate 5 --requests FILE",
    f"{LOAD} --rate 5 --openapi FILE",
    f"{LOAD} --rate 5 --access-log FILE",
    "simulate FILE",
    "report FILE",
    "gate FILE --against FILE",
    "whatif FILE",
    "replay FILE",
    f"calibrate {URL} --requests FILE",
    f"calibrate {URL} --streams-kind sse --requests FILE",
    "snapshot sign FILE --revision 1 --out o --key FILE",
    "snapshot verify FILE --key FILE",
    f"status {URL} --token-file FILE",
    "control run FILE",
)
SETTINGS = frozenset(("check FILE", f"run {URL} --config FILE"))
"""Defaults where a file says nothing."""


@pytest.mark.parametrize(
    ("command", "content"),
    [
        (command, content)
        for command in NAMING_A_FILE
        for content in (None, "", "\x01{ nonsense\x02")
        if content != "" or command not in SETTINGS
    ],
)
def test_a_file_that_cannot_be_read_or_understood_is_3(
    command, content, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("named.toml").write_text(content)
    monkeypatch.setattr(sys, "argv", ["shedproxy", *command.replace("FILE", "named.toml").split()])
    with pytest.raises(SystemExit) as ended:
        main.run()
    said = capsys.readouterr().err
    assert ended.value.code == 3, said
    assert "named.toml" in said


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_settings_to_publish_are_read_before_anybody_is_asked(
    content, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "named.toml"
    if content is not None:
        file.write_bytes(content)
    command = ["control", "publish", str(file), "--cell", "a", "--why", "x"]
    monkeypatch.setattr(sys, "argv", ["shedproxy", *command])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 3
    assert f"cannot read {file}" in capsys.readouterr().err
