"""A browser loads a page with everything on it through shedproxy."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from harness.peers import program, uvicorn
from harness.proxy import Shedproxy

pytestmark = [pytest.mark.integration, pytest.mark.peers("chromium")]

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",
]


def test_chromium_loads_a_page_with_its_assets(tmp_path: Path) -> None:
    """Style, script, image, fetch, POST, server-sent events and a WebSocket, all by one origin."""
    with uvicorn(tmp_path) as service, Shedproxy(service.url, home=tmp_path) as proxy:
        done = subprocess.run(
            [
                program("chromium"),
                *FLAGS,
                f"--user-data-dir={tmp_path / 'profile'}",
                "--dump-dom",
                proxy.url + "/",
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=300,
        )
    item = re.search(r"<li>(.*?)</li>", done.stdout)
    assert item is not None, done.stdout + done.stderr[-2000:]
    assert item[1] == ("apple|pear|13|event 0|event 1|event 2|over a socket|64|rgb(1, 2, 3)")
