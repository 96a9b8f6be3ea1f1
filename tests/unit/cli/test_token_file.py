"""A token is read without its line end, or the command ends and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from shedproxy.cli.token_file import read_token


def test_a_token_is_what_stands_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret\n")
    assert read_token(str(tmp_path / "t")) == "secret"
    assert read_token("") == ""


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended:
        read_token(str(tmp_path / "t"))
    assert ended.value.exit_code == 3
    assert f"cannot read {tmp_path / 't'}" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\xff\xfe", b"s3cret\nand more", "s3cr\u00e9t".encode()])
def test_what_no_header_can_carry_is_no_token_and_is_not_shown(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(typer.Exit) as ended:
        read_token(str(tmp_path / "t"))
    assert ended.value.exit_code == 3
    text = capsys.readouterr().err
    assert f"{tmp_path / 't'} holds no token" in text
    assert "s3cr" not in text
