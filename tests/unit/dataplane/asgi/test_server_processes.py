"""Workers of one server know each other by the sockets that their parent gave them."""

from __future__ import annotations

import subprocess
import sys

from shedproxy.dataplane.asgi import server_processes

PARENT = """
import socket, subprocess, sys
CHILD = (
    "from shedproxy.dataplane.asgi.server_processes import *;"
    "print(server_of_process(), '|', count_siblings())"
)
server, other = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
client = socket.create_connection(server.getsockname())
for given in ([server], [server], [other], [client], []):
    fds = [each.fileno() for each in given]
    subprocess.run([sys.executable, "-P", "-c", CHILD], pass_fds=fds)
"""


def test_who_has_a_socket_of_its_parent_that_clients_connect_to_is_a_worker():
    done = subprocess.run(
        [sys.executable, "-c", PARENT], capture_output=True, text=True, check=True
    )
    names, counts = zip(*(line.split("|") for line in done.stdout.splitlines()), strict=True)
    one, two, other, connected, alone = map(str.strip, names)
    assert one
    assert one == two
    assert other not in {one, ""}
    assert (connected, alone) == ("", "")
    assert set(map(int, counts)) == {1}


def test_a_process_may_have_any_name(tmp_path):
    """The kernel cuts a long name wherever it is too long, inside a character too."""
    (tmp_path / "stat").write_bytes(b"7 (\xd0\xb8 ) \xd0) S 5 7 7")
    (tmp_path / "cmdline").write_bytes(b"x")
    assert server_processes._is_child(tmp_path, b"5")
    assert not server_processes._is_child(tmp_path, b"6")
