"""What was in force last is on the disk, whatever happens meanwhile."""

from __future__ import annotations

import os

import pytest

from shedproxy.store import Kept, LastGood


def kept(store: LastGood) -> list[bytes]:
    return [copy.data for copy in store.read() if isinstance(copy, Kept)]


def test_an_empty_folder_holds_nothing(tmp_path):
    store = LastGood(tmp_path / "none")
    assert kept(store) == []
    assert store.highest() == 0


def test_the_last_two_are_kept_the_newest_first(tmp_path):
    store = LastGood(tmp_path / "deep" / "folder")
    for revision in (1, 2, 3):
        store.keep(b"%d" % revision, revision)
    assert kept(store) == [b"3", b"2"]
    assert store.highest() == 3
    assert LastGood(tmp_path / "deep" / "folder").highest() == 3
    assert (tmp_path / "deep" / "folder").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("writes", range(3))
def test_a_full_disk_leaves_what_can_be_read(tmp_path, monkeypatch, writes):
    store = LastGood(tmp_path)
    store.keep(b"1", 1)
    store.keep(b"2", 2)
    left = [writes]
    fsync = os.fsync

    def full(fd: int) -> None:
        left[0] -= 1
        if left[0] < -1:
            raise OSError(28, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        store.keep(b"3" * 10_000, 3)
    assert kept(store)[0] == b"2"
    assert store.highest() in {2, 3}


def test_a_copy_that_is_too_long_is_read_one_byte_too_far(tmp_path):
    store = LastGood(tmp_path, size_max=10)
    store.keep(bytes(100), 1)
    assert len(kept(store)[0]) == 11


def test_what_cannot_be_read_is_said_and_the_other_one_given(tmp_path):
    store = LastGood(tmp_path)
    store.keep(b"1", 1)
    store.keep(b"2", 2)
    (tmp_path / "current.snapshot").unlink()
    (tmp_path / "current.snapshot").mkdir()
    error, other = store.read()
    assert isinstance(error, IsADirectoryError)
    assert isinstance(other, Kept)
    assert other.data == b"1"


@pytest.mark.parametrize("text", ["", "{}", '{"revision":-1}', '{"revision":"9"}', "[" * 9000])
def test_a_damaged_revision_is_no_revision(tmp_path, text):
    (tmp_path / "highest.json").write_text(text)
    with pytest.raises(ValueError):
        LastGood(tmp_path).highest()
