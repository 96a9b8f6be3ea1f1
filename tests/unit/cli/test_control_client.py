from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading

import httpx2
import pytest

from shedproxy.cli.control_client import ControlClient, ControlError
from shedproxy.listening import OrderKey, address_of, read_order_key
from shedproxy.testing import free_port


def answering(status: int, content: object = None, text: str = "") -> httpx2.MockTransport:
    def handle(request: httpx2.Request) -> httpx2.Response:
        handle.requests.append(request)
        if content is not None:
            return httpx2.Response(status, json=content)
        return httpx2.Response(status, text=text)

    handle.requests = []
    transport = httpx2.MockTransport(handle)
    transport.requests = handle.requests
    return transport


def test_asks_and_reads_a_json_object():
    transport = answering(200, {"mode": "enforce"})
    with ControlClient("http://127.0.0.1:9", token="t0k", transport=transport) as client:
        assert client.ask("GET", "/-/status", query=[("a", "1")]) == {"mode": "enforce"}
    (request,) = transport.requests
    assert str(request.url) == "http://127.0.0.1:9/-/status?a=1"
    assert request.headers["authorization"] == "Bearer t0k"


@pytest.mark.parametrize("url", ["127.0.0.1:9", ":9", "http://127.0.0.1:9"])
def test_an_address_without_scheme_is_http(url):
    transport = answering(200, {})
    with ControlClient(url, transport=transport) as client:
        client.ask("GET", "/livez")
    assert transport.requests[0].url.host == "127.0.0.1"


def test_what_is_no_url_is_a_usage_error():
    with pytest.raises(ControlError) as caught:
        ControlClient("ftp://host")
    assert caught.value.is_usage


def test_nobody_there_says_what_was_tried_and_what_to_do():
    url = f"http://127.0.0.1:{free_port()}"
    with ControlClient(url) as client, pytest.raises(ControlError) as caught:
        client.ask("GET", "/-/status")
    assert f"nothing answers at {url}" in str(caught.value)
    assert "--control" in str(caught.value)
    assert not caught.value.is_usage


@pytest.mark.parametrize("transport", [answering(404, text="not here"), answering(200, text="hi")])
def test_another_service_is_recognised(transport):
    with (
        ControlClient("http://127.0.0.1:9", transport=transport) as client,
        pytest.raises(ControlError, match="no control listener of shedproxy"),
    ):
        client.ask("GET", "/-/status")


@pytest.mark.parametrize(("status", "is_usage"), [(422, True), (400, True), (401, False)])
def test_a_refusal_is_told_in_the_words_of_the_answer(status, is_usage):
    transport = answering(status, {"detail": "mode is 'loud'", "status": status})
    with ControlClient("http://127.0.0.1:9", transport=transport) as client:
        with pytest.raises(ControlError, match="mode is 'loud'") as caught:
            client.ask("POST", "/-/mode", body={})
        assert caught.value.is_usage is is_usage
        assert ("--token-file" in str(caught.value)) is (status == 401)


def test_proxies_of_the_environment_do_not_apply(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_once, args=(server,))
        thread.start()
        with ControlClient(f"http://127.0.0.1:{server.getsockname()[1]}") as client:
            assert client.ask("GET", "/-/status") == {}
        thread.join(10)


def test_a_unix_socket_is_reached_by_its_path(tmp_path):
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        thread = threading.Thread(target=_answer_once, args=(server,))
        thread.start()
        with ControlClient(f"unix:{path}") as client:
            assert client.ask("GET", "/-/status") == {}
        thread.join(10)


def _answer_once(server: socket.socket) -> None:
    server.settimeout(10)
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("10.0.0.5", "http://10.0.0.5:9900"),
        ("[::1]", "http://[::1]:9900"),
        ("[::1]:7", "http://[::1]:7"),
        (":7", "http://127.0.0.1:7"),
        ("http://host", "http://host"),
    ],
)
def test_what_is_left_out_of_an_address_is_filled_in(written, asked):
    seen = []
    transport = httpx2.MockTransport(
        lambda request: (seen.append(str(request.url)), httpx2.Response(200, json={}))[1]
    )
    with ControlClient(written, transport=transport) as client:
        client.ask("GET", "/-/status")
    assert seen == [f"{asked}/-/status"]


def test_another_kind_of_listener_is_recognised():
    transport = answering(404, {"title": "Not found", "detail": "Not Found"})
    with (
        ControlClient("http://127.0.0.1:9", transport=transport, name="control plane") as client,
        pytest.raises(ControlError, match="has no /v1/status: this is no control plane"),
    ):
        client.ask("GET", "/v1/status")


def test_a_port_that_is_left_out_is_that_of_the_kind_of_listener():
    transport = answering(200, {})
    with ControlClient("plane.example", transport=transport, port=9800) as client:
        client.ask("GET", "/v1/status")
    assert transport.requests[0].url.port == 9800


def test_a_name_that_no_host_can_have_is_a_mistake_of_usage():
    with ControlClient("a..b") as client, pytest.raises(ControlError) as caught:
        client.ask("GET", "/-/status")
    assert caught.value.is_usage
    assert "http://a..b:9900 is no URL" in str(caught.value)


@pytest.mark.parametrize("url", ["http://", "https:///", "ftp://a"])
def test_what_is_no_url_is_a_mistake_of_usage(url):
    with pytest.raises(ControlError) as caught:
        ControlClient(url)
    assert caught.value.is_usage


class Guarded(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Asks for the key of one that listens at `named`, by default of itself."""

    daemon_threads = True

    def __init__(self, folder, named: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _AsksForKey)
        self.address = address_of(*self.server_address)
        self.key = OrderKey((named or self.address,), {"XDG_RUNTIME_DIR": str(folder)})
        self.shown: list[str | None] = []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        self.key.forget()


class _AsksForKey(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.shown.append(self.headers["authorization"])
        is_shown = self.server.key.is_shown({"authorization": self.headers["authorization"] or ""})
        content = {} if is_shown else {"detail": "no", "order_key": self.server.key.file()}
        body = json.dumps(content).encode()
        self.send_response(200 if is_shown else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Nothing."""


def test_the_key_of_a_listener_is_found_when_it_asks_for_it(tmp_path):
    with (
        Guarded(tmp_path) as server,
        ControlClient(f"http://localhost:{server.server_address[1]}") as client,
    ):
        assert client.ask("POST", "/-/drain", body={}) == {}
        assert client.ask("POST", "/-/drain", body={}) == {}
        secret = read_order_key(server.key.file(), server.address)
        assert server.shown == [None, *[f"Bearer {secret}"] * 2]


def test_a_listener_is_not_shown_the_key_of_another_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        named = address_of(*other.getsockname())
        with (
            Guarded(tmp_path, named) as server,
            ControlClient(server.address) as client,
            pytest.raises(ControlError, match="no"),
        ):
            client.ask("POST", "/-/drain", body={})
        assert server.shown == [None]


def test_who_brings_a_token_shows_nothing_else(tmp_path):
    with (
        Guarded(tmp_path) as server,
        ControlClient(server.address, token="t0k") as client,
        pytest.raises(ControlError) as caught,
    ):
        client.ask("POST", "/-/drain", body={})
    assert server.shown == ["Bearer t0k"]
    assert "--token-file" not in str(caught.value)
