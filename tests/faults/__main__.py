"""Runs the fault matrix and prints it; `--write` keeps it, with the figures, in docs/faults.md.

python -m tests.faults            every row that has tests
python -m tests.faults --write    and write the page
python -m tests.faults -k wire    what pytest takes, it gets
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.book import Entry, figures_in, markdown

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Run, and write the page if all went well."""
    is_kept = "--write" in arguments
    with tempfile.TemporaryDirectory(prefix="shedproxy-faults-") as scratch:
        file = Path(scratch) / "figures.json"
        pytest = [sys.executable, "-m", "pytest", "-q", "-m", "fault", f"--fault-figures={file}"]
        given = [argument for argument in arguments if argument != "--write"]
        code = subprocess.run([*pytest, *given], cwd=ROOT, check=False).returncode
        if is_kept and not code:
            page = ROOT / "docs" / "faults.md"
            rows = figures_in(page.read_text())
            for number, row in json.loads(file.read_text()).items():
                rows[number] = Entry(**row)
            page.write_text(markdown(rows, _measured()))
    return code


def _measured() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {commit} on Linux "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
