"""Every flag of `calibrate` says what it is for."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from shedproxy.cli import calibrate_options
from shedproxy.cli.calibrate_command import calibrate
from shedproxy.cli.main import app


def test_every_flag_has_help_and_is_in_the_help() -> None:
    helped = [
        option.__metadata__[0].help
        for option in vars(calibrate_options).values()
        if hasattr(option, "__metadata__")
    ]
    # All but what is returned, and the context.
    assert len(helped) == len(calibrate.__annotations__) - 2
    assert all(helped)
    shown = CliRunner().invoke(app, ["calibrate", "--help"]).stdout
    assert all(flag in shown for flag in ("--from-observe", "--processes", "--token-file"))
    assert isinstance(calibrate_options.Target.__metadata__[0], typer.models.ArgumentInfo)
