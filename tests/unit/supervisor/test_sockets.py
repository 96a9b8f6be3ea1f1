from __future__ import annotations

import os
import socket

import pytest

from shedproxy.errors import StartupError
from shedproxy.supervisor import sockets
from shedproxy.supervisor.sockets import bind, bind_all, close_all, parse_address
from shedproxy.testing import free_port


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        (":8080", ":8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("localhost:0", "localhost:0"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("fd:3", "fd:3"),
        ("systemd", "systemd"),
        ("systemd:web", "systemd:web"),
    ],
)
def test_an_address_is_shown_as_it_was_written(text: str, shown: str):
    assert str(parse_address(text)) == shown


@pytest.mark.parametrize(
    "text",
    ["", "8080", "host", "host:", "host:http", "host:65536", "::1:80", "unix:", "fd:x", "systemd:"],
)
def test_what_is_no_address_is_refused_with_its_text(text: str):
    with pytest.raises(StartupError, match="is no listen address") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("127.evil.example:1", False),
        ("fd:3", False),
        ("systemd", False),
    ],
)
def test_loopback_is_what_only_this_host_reaches(text: str, is_loopback: bool):
    assert parse_address(text).is_loopback is is_loopback


def test_port_0_is_replaced_by_the_real_one():
    (listener,) = bind(parse_address("127.0.0.1:0"))
    try:
        assert listener.bound != "127.0.0.1:0"
        port = int(listener.bound.rpartition(":")[2])
        assert listener.url == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    finally:
        close_all([listener])


def test_no_host_means_every_interface_on_one_port():
    listeners = bind(parse_address(":0"))
    try:
        assert len({listener.bound.rpartition(":")[2] for listener in listeners}) == 1
        assert listeners[0].bound.startswith("0.0.0.0:")
    finally:
        close_all(listeners)


def test_a_taken_port_names_the_address_and_the_mend():
    (holder,) = bind(parse_address("127.0.0.1:0"))
    try:
        with pytest.raises(StartupError) as caught:
            bind(parse_address(holder.bound))
        assert holder.bound in str(caught.value)
        assert "taken" in str(caught.value)
        assert "choose another" in str(caught.value)
    finally:
        close_all([holder])


def test_one_failure_closes_what_was_bound_before():
    (holder,) = bind(parse_address("127.0.0.1:0"))
    free_address = f"127.0.0.1:{free_port()}"
    try:
        with pytest.raises(StartupError):
            bind_all([free_address, holder.bound])
        close_all(bind_all([free_address]))
    finally:
        close_all([holder])


def test_an_unknown_name_is_refused():
    with pytest.raises(StartupError, match=r"not an address or name"):
        bind(parse_address("no-such-host.invalid:0"))


def test_a_unix_socket_replaces_a_dead_one_and_cleans_up(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (listener,) = bind(parse_address(f"unix:{path}"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert listener.bound == f"unix:{path}"
    close_all([listener])
    assert not path.exists()


def test_a_living_unix_socket_is_taken(tmp_path):
    (listener,) = bind(parse_address(f"unix:{tmp_path / 's'}"))
    try:
        with pytest.raises(StartupError, match="taken"):
            bind(parse_address(f"unix:{tmp_path / 's'}"))
    finally:
        close_all([listener])


def test_a_file_in_the_way_is_not_removed(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StartupError, match="no socket"):
        bind(parse_address(f"unix:{path}"))
    assert path.read_text() == "data"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StartupError, match="folder does not exist"):
        bind(parse_address(f"unix:{tmp_path}/no/s"))


def test_an_inherited_socket_is_adopted():
    handed = socket.create_server(("127.0.0.1", 0))
    port = handed.getsockname()[1]
    fd = handed.detach()
    (listener,) = bind(parse_address(f"fd:{fd}"))
    assert listener.bound == f"127.0.0.1:{port}"
    close_all([listener])
    # It is ours alone: where we do not listen nobody does.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    with pytest.raises(StartupError, match="no open socket"):
        bind(parse_address(f"fd:{fd}"))


def test_sockets_of_systemd_are_taken_by_name_or_all(monkeypatch):
    handed = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in handed]
    fds = [each.detach() for each in handed]
    names = dict(zip(fds, ("web", "control", "web"), strict=True))
    environ = {"LISTEN_FDS": "3"}

    def handed_over(name, given):
        assert given is environ
        return tuple(fd for fd in fds if name in {"", names[fd]})

    monkeypatch.setattr(sockets, "handed_over", handed_over)
    web = bind_all(["systemd:web"], environ=environ)
    assert [listener.bound for listener in web] == [f"127.0.0.1:{ports[i]}" for i in (0, 2)]
    (control,) = bind_all(["systemd:control"], environ=environ)
    assert control.bound == f"127.0.0.1:{ports[1]}"
    close_all([*web, control])
    with pytest.raises(StartupError, match="no open socket"):
        bind_all(["systemd"], environ=environ)


@pytest.mark.parametrize("text", ["systemd", "systemd:web"])
def test_nothing_handed_over_is_said_with_what_to_do(text):
    with pytest.raises(StartupError, match=r"start the \.socket unit"):
        bind_all([text], environ={})


def test_a_descriptor_that_is_no_socket_is_refused():
    read, write = os.pipe()
    try:
        with pytest.raises(StartupError, match="no open socket"):
            bind(parse_address(f"fd:{read}"))
    finally:
        os.close(read)
        os.close(write)
    with pytest.raises(StartupError, match="no open socket"):
        bind(parse_address("fd:9999"))


def test_a_datagram_socket_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        wrong.bind(("127.0.0.1", 0))
        with pytest.raises(StartupError, match="cannot listen"):
            bind(parse_address(f"fd:{os.dup(wrong.fileno())}"))
