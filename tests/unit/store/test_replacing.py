"""A file is replaced whole, or stays as it was."""

from __future__ import annotations

import os

import pytest

from shedproxy.store import replace_file


def test_a_file_is_made_and_replaced(tmp_path):
    file = tmp_path / "a"
    for data in (b"one", b"two"):
        replace_file(file, data)
        assert file.read_bytes() == data
    assert os.listdir(tmp_path) == ["a"]
    assert file.stat().st_mode & 0o077 == 0


def test_whom_somebody_let_read_it_can_read_the_next_one_too(tmp_path):
    file = tmp_path / "a"
    replace_file(file, b"one")
    file.chmod(0o644)
    replace_file(file, b"two")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"two", 0o644)


def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "a"
    replace_file(file, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
