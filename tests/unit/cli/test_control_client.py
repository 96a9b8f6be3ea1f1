from __future__ import annotations

import socket
import threading

import httpx2
import pytest

from shedproxy.cli.control_client import ControlClient, ControlError


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
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
