"""Who gives orders on loopback: the user of the proxy, by its commands, and nobody else."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness.proxy import Shedproxy

pytestmark = pytest.mark.integration

OTHERS = [65534] if os.geteuid() == 0 else []


def strange_order(proxy: Shedproxy) -> tuple[int, dict]:
    """What is answered to somebody who shows nothing."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.control_port, timeout=10)
    connection.request("POST", "/-/mode", b'{"mode":"off"}', {"content-type": "application/json"})
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_commands_of_its_user_find_the_key_and_nobody_else_has_it(run_cli, tmp_path: Path) -> None:
    service, session = tmp_path / "service", tmp_path / "session"
    service.mkdir(mode=0o755)
    session.mkdir(mode=0o755)
    environ = {"RUNTIME_DIRECTORY": str(service), "XDG_RUNTIME_DIR": str(session)}
    with Shedproxy("http://127.0.0.1:9", home=tmp_path, environ=environ) as proxy:
        assert proxy.order_key == f"{service}/orders/orders-127.0.0.1:{proxy.control_port}"
        status, refusal = strange_order(proxy)
        assert (status, refusal["order_key"]) == (401, proxy.order_key)
        assert proxy.status()["order_key"] == proxy.order_key
        # Its commands have neither variable, and another home.
        url = f"http://localhost:{proxy.control_port}"
        done = run_cli("mode", "observe", url, HOME="/nowhere", XDG_RUNTIME_DIR="")
        assert (done.returncode, done.stdout) == (0, "observe for 1h\n"), done.stderr
        assert proxy.control("POST", "/-/reload")[0] == 200
        assert strange_order(proxy)[0] == 401, "a reload opens nothing"
        for user in OTHERS:
            tried = subprocess.run(["cat", proxy.order_key], user=user, capture_output=True)
            assert (tried.returncode, tried.stdout) == (1, b"")
        secret = Path(proxy.order_key).read_text().partition("Bearer ")[2].strip()
        assert len(secret) == 43
        shown = [
            *(proxy.control("GET", path)[1] for path in ("/-/status", "/-/config", "/metrics")),
            *(
                Path(f"/proc/{pid}/{what}").read_bytes()
                for pid in (proxy.pid, proxy.worker_pid)
                for what in ("cmdline", "environ")
            ),
        ]
        proxy.signal(signal.SIGKILL)
        proxy.stop()
        assert Path(proxy.order_key).exists(), "nobody was there to remove it"
    with Shedproxy("http://127.0.0.1:9", home=tmp_path, environ=environ) as successor:
        (left,) = Path(successor.order_key).parent.iterdir()
        assert str(left) == successor.order_key
        shown += [proxy.log.read_bytes(), successor.log.read_bytes()]
    assert not [text for text in shown if secret.encode() in text]
    assert not left.exists()
