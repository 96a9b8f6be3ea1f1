"""README tells the truth: its commands parse, its files exist, its lines of code run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from shedproxy.cli.main import app
from shedproxy.core import RejectReason

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
COMMANDS = sorted(
    {
        line.split("  #")[0].strip()
        for line in README.splitlines()
        if line.startswith("    shedproxy ")
    }
    | {
        found
        for found in re.findall(r"`(shedproxy [a-z]+[^`|]*)`", README)
        if "MODULE" not in found
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_shown_is_understood(line: str) -> None:
    """Name, arguments and options as the command line has them."""
    words = shlex.split(line.replace("URL", "http://127.0.0.1:8000"))[1:]
    group = typer.main.get_command(app)
    with group.make_context("shedproxy", words[:1], resilient_parsing=True) as context:
        command = group.get_command(context, words[0])
        assert command is not None, f"no command {words[0]}"
        if words[1:]:
            command.make_context(words[0], words[1:], parent=context).close()


def test_every_reason_is_explained() -> None:
    """The table of reasons is the closed set."""
    for reason in RejectReason:
        assert f"`{reason.label}`" in README


def test_the_example_for_fastapi_runs() -> None:
    """Copied from the page as it stands."""
    block = README.split("    from fastapi import FastAPI, Request\n")[1]
    lines = ["from fastapi import FastAPI, Request"]
    for line in block.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line[4:])
    namespace: dict[str, object] = {}
    exec("\n".join(lines), namespace)
    from starlette.testclient import TestClient

    with TestClient(namespace["app"]) as client:
        assert client.post("/checkout").json() == {"status": "paid"}
        assert client.get("/search").json() == {"facets": True}


def test_linked_files_exist() -> None:
    """Relative links lead somewhere."""
    root = Path(__file__).resolve().parents[2]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).exists(), target
