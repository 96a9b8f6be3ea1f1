"""The key of orders: where its file is, who can read it, and when it is not shown."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

import pytest

from shedproxy.listening import OrderKey, read_order_key

HERE = "127.0.0.1:9900"
OTHERS = [65534] if os.geteuid() == 0 else []
"""Users whose part this process can play."""


@pytest.fixture
def session(tmp_path) -> Path:
    folder = tmp_path / "session"
    folder.mkdir()
    return folder


@pytest.fixture
def keep(session):
    """Makes keys, and forgets them after the test."""
    with contextlib.ExitStack() as end:

        def keep(*addresses: str, **environ: str) -> OrderKey:
            key = OrderKey(addresses or (HERE,), {"XDG_RUNTIME_DIR": str(session), **environ})
            end.callback(key.forget)
            return key

        yield keep


@contextlib.contextmanager
def as_user(user: int):
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def shown(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def test_who_can_read_the_file_has_the_key_and_nobody_else(keep, session):
    key = keep()
    file = Path(key.file(HERE))
    assert file == session / "shedproxy" / f"orders-{HERE}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert key.is_shown(shown(read_order_key(str(file), HERE)))
    assert not key.is_shown(shown("x" * 43))
    assert not key.is_shown({})


def test_the_file_is_a_header(keep):
    key = keep()
    name, _, value = Path(key.file(HERE)).read_text().partition(": ")
    assert key.is_shown({name.lower(): value.strip()})


def test_each_address_has_a_file_and_all_have_the_same_key(keep):
    key = keep(HERE, "[::1]:9900")
    assert read_order_key(key.file(HERE), HERE) == read_order_key(
        key.file("[::1]:9900"), "[::1]:9900"
    )


def test_a_listener_on_no_loopback_address_has_no_key(session):
    key = OrderKey((), {"XDG_RUNTIME_DIR": str(session)})
    assert (key.file(), key.why) == ("", "")
    assert not key.is_shown(shown(""))
    assert not list(session.iterdir())


def test_two_on_one_host_are_told_apart(keep):
    first, second = keep(HERE), keep("127.0.0.1:9901")
    secret = read_order_key(first.file(HERE), HERE)
    assert secret
    assert not second.is_shown(shown(secret))
    assert read_order_key(first.file(HERE), "127.0.0.1:9901") == "", "it is not for that one"


@pytest.mark.parametrize("named", ["systemd", "session"])
def test_the_folder_is_that_of_the_service_or_the_session(keep, tmp_path, session, named):
    service = tmp_path / "service"
    service.mkdir(mode=0o755)
    environ = {"RUNTIME_DIRECTORY": f"{service}:/run/other"} if named == "systemd" else {}
    expected = service / "orders" if named == "systemd" else session / "shedproxy"
    assert Path(keep(**environ).file(HERE)).parent == expected


def test_without_one_it_is_in_memory_or_in_the_temporary_folder(tmp_path, monkeypatch):
    mine = f"shedproxy-{os.geteuid()}"
    key = OrderKey(("127.0.0.1:1",), {"TMPDIR": str(tmp_path)})
    assert Path(key.file()).parent in {Path("/dev/shm", mine), tmp_path / mine}
    key.forget()
    make = Path.mkdir

    def read_only(path: Path, *arguments, **options):
        if path.parent == Path("/dev/shm"):
            raise PermissionError(1, "Read-only")
        make(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", read_only)
    key = OrderKey(("127.0.0.1:1",), {"TMPDIR": str(tmp_path)})
    assert Path(key.file()).parent == tmp_path / mine
    key.forget()


def block(folder: Path, how: str) -> None:
    """Make a folder one that is not this user's alone."""
    folder.parent.mkdir(exist_ok=True)
    if how == "link":
        elsewhere = folder.with_name("elsewhere")
        elsewhere.mkdir(mode=0o700, exist_ok=True)
        folder.symlink_to(elsewhere)
    elif how == "open":
        folder.mkdir()
        folder.chmod(0o750)
    else:
        folder.touch(mode=0o600)


@pytest.mark.parametrize(
    ("how", "why"),
    [("link", "belongs to somebody else"), ("file", "belongs to somebody else"),
     ("open", "open to others")],
)  # fmt: skip
def test_a_folder_that_others_prepared_is_not_used(tmp_path, monkeypatch, how, why):
    memory, disk = tmp_path / "shm" / "mine", tmp_path / "tmp" / "mine"
    monkeypatch.setattr("shedproxy.listening.order_key._folders", lambda _: [memory, disk])
    block(memory, how)
    block(disk, how)
    key = OrderKey((HERE,), {})
    assert key.file(HERE) == ""
    assert f"{memory}: " in key.why
    assert f"{disk}: " in key.why
    assert why in key.why
    os.rename(disk, tmp_path / "gone")
    assert Path(key.file(HERE)).parent == disk, "as soon as there is a folder, there is a file"
    assert key.why == ""
    key.forget()


def test_the_session_of_another_user_is_not_ours(session, monkeypatch):
    tried = []

    def refuse(path: Path, *_arguments, **_options):
        tried.append(path.parent)
        raise PermissionError(1, "no")

    monkeypatch.setattr("os.geteuid", lambda: 12345)
    monkeypatch.setattr(Path, "mkdir", refuse)
    OrderKey((HERE,), {"XDG_RUNTIME_DIR": str(session), "TMPDIR": "/tmp"})
    assert tried == [Path("/dev/shm"), Path("/tmp")]


def test_it_is_gone_at_the_end_and_what_a_killed_one_left_at_the_next_start(keep, session):
    key = keep()
    file = Path(key.file(HERE))
    left = file.with_name("orders-127.0.0.1:9")
    left.write_text("Authorization: Bearer " + "a" * 43 + "\n")
    left.chmod(0o600)
    assert read_order_key(str(left), "127.0.0.1:9") == "", "nobody has that address now"
    other = keep("127.0.0.1:9901")
    assert not left.exists()
    assert file.exists()
    key.forget()
    assert not file.exists()
    assert Path(other.file()).exists()


def test_the_next_one_at_the_address_takes_the_place_of_one_that_was_killed(keep):
    file = Path(keep().file(HERE))
    former = read_order_key(str(file), HERE)
    next_one = keep()
    assert next_one.is_shown(shown(read_order_key(str(file), HERE)))
    assert not next_one.is_shown(shown(former))


def test_what_belongs_to_a_successor_is_left_to_it(keep):
    former, successor = keep(), keep()
    former.forget()
    assert successor.is_shown(shown(read_order_key(successor.file(HERE), HERE)))


def test_a_file_that_was_removed_is_written_again(keep, session):
    key = keep()
    secret = read_order_key(key.file(HERE), HERE)
    for path in (session / "shedproxy").iterdir():
        path.unlink()
    (session / "shedproxy").rmdir()
    assert read_order_key(key.file(HERE), HERE) == secret


@pytest.mark.parametrize(
    "content", ["", "secret\n", "Authorization: Bearer a\r\nX: y\n", "-----BEGIN KEY-----\n" * 20]
)
def test_a_listener_gets_nothing_out_of_files_that_are_no_key(session, content):
    file = session / f"orders-{HERE}"
    file.write_text(content)
    file.chmod(0o600)
    with file.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert read_order_key(str(file), HERE) == ""


@pytest.mark.parametrize("what", ["link", "open", "pipe", "absent", "nul"])
def test_only_a_plain_file_that_is_closed_to_others_is_read(keep, session, what):
    file = Path(keep().file(HERE))
    named = session / f"orders-{HERE}"
    if what == "link":
        named.symlink_to(file)
    elif what == "open":
        named = file
        file.chmod(0o640)
    elif what == "pipe":
        os.mkfifo(named, 0o600)
    elif what == "nul":
        named = session / f"\0/orders-{HERE}"
    assert read_order_key(str(named), HERE) == ""


def test_another_user_of_the_host_cannot_read_it_and_root_reads_all(keep, session):
    session.chmod(0o755)
    file = keep().file(HERE)
    assert read_order_key(file, HERE)
    for user in OTHERS:
        with as_user(user):
            assert read_order_key(file, HERE) == ""
        os.chown(file, user, user)
        assert read_order_key(file, HERE)


def test_an_order_key_is_in_no_text_of_its_object(keep):
    key = keep()
    secret = read_order_key(key.file(HERE), HERE)
    assert secret not in f"{key!r} {key.why} {key.file(HERE)}"
