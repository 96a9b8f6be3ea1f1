"""The real `shedproxy run` with settings of an experiment's own."""

from __future__ import annotations

from pathlib import Path

from shedproxy.loadgen.demo import ProxyProcess

__all__ = ["ConfiguredProxy"]


class ConfiguredProxy(ProxyProcess):
    """As `ProxyProcess`; the settings are written to a file in `folder`, and name the upstreams."""

    def __init__(self, folder: Path, settings: str) -> None:
        super().__init__("")
        file = folder / "shedproxy.toml"
        file.write_text(settings)
        self._command = [word for word in self._command if word]
        self._command.append(f"--config={file}")
