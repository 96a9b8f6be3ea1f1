"""The test command: `python3 -m tests`.

Builds the wheel, installs it in a fresh virtual environment, and runs the whole suite there with
pytest: format, lint, types and import rules are tests like any other. Needs Python 3.11 and pip.

    python3 -m tests                 everything that this machine can run
    python3 -m tests --peers         a missing peer (nginx, HAProxy, Envoy, ...) is a failure
    python3 -m tests -k wire -x      what pytest takes, it gets
    python3 -m tests --here          in the environment that is active, without a build

Run whole, it is two sessions side by side: tests that only compute run at the lowest priority
beside those that wait for sockets and clocks, and are shown after them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
COMPUTING = ("architecture", "property", "unit")
"""Folders whose tests need a processor and nothing else."""


def run(*command: str | Path) -> None:
    """Run a step and stop at the first that fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def pytest_in(python: Path, arguments: list[str]) -> int:
    """The suite, in one session when it is asked for a part of it."""
    if any(not argument.startswith("-") for argument in arguments):
        return session(python, arguments).wait()
    others = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").iterdir()
        if path.is_dir() and path.name not in {*COMPUTING, "harness", "__pycache__"}
    )
    with tempfile.TemporaryFile() as said:
        beside = [f"tests/{name}" for name in COMPUTING]
        computing = session(python, [*beside, *arguments], output=said, niceness=19)
        try:
            code = session(python, [*others, *arguments]).wait()
            code = computing.wait() or code
        finally:
            computing.kill()
        said.seek(0)
        print(said.read().decode(errors="replace"), flush=True)
    return code


def session(
    python: Path, arguments: list[str], *, output: IO[bytes] | None = None, niceness: int = 0
) -> subprocess.Popen[bytes]:
    """Without the source tree on the path: what is tested is what was installed."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = (
        f"import os, sys; os.nice({niceness}); sys.path[:] = [p for p in sys.path if p]; "
        "import pytest; sys.exit(pytest.console_main())"
    )
    command = [str(python), "-P", "-c", script, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)


def main(arguments: list[str]) -> int:
    """Build, install, test."""
    if "--here" in arguments:
        arguments.remove("--here")
        return pytest_in(Path(sys.executable), arguments)
    if sys.version_info < (3, 11):
        sys.exit("shedproxy needs Python 3.11 or newer; this is " + sys.version.split()[0])
    with tempfile.TemporaryDirectory(prefix="shedproxy-tests-") as scratch:
        home = Path(scratch)
        print("building the wheel and a fresh environment for it ...", flush=True)
        venv.create(home / "env", with_pip=True)
        python = home / "env" / "bin" / "python"
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        run(*pip, "wheel", "--no-deps", "--wheel-dir", home / "dist", ".")
        wheel = next((home / "dist").glob("shedproxy-*.whl"))
        lock = ROOT / ".ci" / "requirements.lock"
        pinned = ("--constraint", lock) if lock.exists() else ()
        extras = "dev,envoy" if "--peers" in arguments else "dev"
        run(*pip, "install", *pinned, f"{wheel}[{extras}]")
        return pytest_in(python, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
