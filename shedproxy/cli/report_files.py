"""Reading reports and other tools' files, and writing what is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shedproxy.errors import DocumentInvalidError, StartupError

if TYPE_CHECKING:
    from shedproxy.calibration.results import Calibration

__all__ = ["check_folder", "read_calibration", "read_text", "write_text", "write_views"]

_REPORT = "report.json"


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        StartupError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StartupError(f"cannot read {file}: {error.strerror}") from error


def read_calibration(file: Path) -> Calibration:
    """The calibration of a report.json, or of the folder that has one.

    Raises:
        StartupError: it cannot be read.
        DocumentInvalidError: it is no calibration; the message says what to do with other files.
    """
    from shedproxy.calibration.results import decode_calibration

    if file.is_dir():
        file /= _REPORT
    try:
        return decode_calibration(read_text(file))
    except DocumentInvalidError as error:
        helps = "reports are made by `shedproxy calibrate`; for other tools' files say --from"
        raise DocumentInvalidError(
            [
                replace(problem, source=str(file), help=problem.help or helps)
                for problem in error.problems
            ]
        ) from error


def check_folder(file: Path) -> None:
    """That there is a place for a file, before it takes long to make what is in it.

    Raises:
        StartupError: there is no such folder, or it is a folder itself.
    """
    folder = file.absolute().parent
    if not folder.is_dir():
        raise StartupError(f"cannot write {file}: there is no folder {folder}")
    if file.is_dir():
        raise StartupError(f"cannot write {file}: Is a directory")


def write_text(file: Path, text: str) -> None:
    """Write it; the folder must be there.

    Raises:
        StartupError: it cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StartupError(f"cannot write {file}: {error.strerror}") from error


def write_views(folder: Path, calibration: Calibration) -> None:
    """`report.html` and `report.md` beside the report.json of a calibration.

    Raises:
        StartupError: they cannot be written.
    """
    from shedproxy.cli.calibration_markdown import calibration_as_markdown
    from shedproxy.cli.calibration_page import render_calibration

    write_text(folder / "report.html", render_calibration(calibration))
    write_text(folder / "report.md", calibration_as_markdown(calibration))
