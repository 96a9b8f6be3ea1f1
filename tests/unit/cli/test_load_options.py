"""Every flag of `load` says what it is for."""

from __future__ import annotations

from typer.testing import CliRunner

from shedproxy.cli import load_options
from shedproxy.cli.main import app


def test_every_flag_has_help_and_the_shapes_are_named() -> None:
    helped = [
        option.__metadata__[0].help
        for option in vars(load_options).values()
        if hasattr(option, "__metadata__")
    ]
    assert len(helped) == 16
    assert all(helped)
    shown = " ".join(CliRunner().invoke(app, ["load", "--help"]).stdout.split())
    for words in ("steady, step, ramp, pulse or search", "--log FILE", "--speed 2x", "10s a level"):
        assert words in shown
