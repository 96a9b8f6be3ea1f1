"""The test command: `python3 -m tests`.

Builds the wheel, installs it in a fresh virtual environment, and runs the whole suite there with
pytest: format, lint, types and import rules are tests like any other. Needs Python 3.11 and pip.

    python3 -m tests                 everything that this machine can run
    python3 -m tests --peers         a missing peer (nginx, HAProxy, Envoy, ...) is a failure
    python3 -m tests -k wire -x      what pytest takes, it gets
    python3 -m tests --here          in the environment that is active, without a build

Run whole, it is several sessions, side by side. What is installed is compiled where there is a C
compiler, and what talks to it from outside or drives its insides as they are runs on that. Tests
that reach into a class, fuzzing and whatever only computes run on the source tree, at the lowest
priority where they need nothing but a processor; the properties are run on both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
COMPUTING = ("architecture", "property", "unit")
"""Folders whose tests need a processor and nothing else."""
INSIDE = ("attacks", "fuzz")
"""Folders whose tests put something of their own in the place of a method."""
PEERS = ("conformance", "peers")
"""Folders whose tests mostly wait for other programs: they can be beside the rest."""
LAST = ("faults",)
"""And those that take what is left of the time."""
PROPERTIES = (
    "tests/property/test_cold_start.py",
    "tests/property/test_overload.py",
    "tests/property/test_queue_fairness.py",
    "tests/property/test_replay.py",
    "tests/property/test_shedder.py",
    "tests/property/test_simulated_worlds.py",
)
"""What holds of the source has to hold of what was compiled from it."""


def run(*command: str | Path) -> None:
    """Run a step and stop at the first that fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def pytest_in(python: Path, arguments: list[str]) -> int:
    """The suite, in one session when it is asked for a part of it."""
    if any(not argument.startswith("-") for argument in arguments):
        return session(python, arguments, source=True).wait()
    apart = {*COMPUTING, *INSIDE, *PEERS, *LAST, "harness", "__pycache__"}
    others = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").iterdir())
        if path.is_dir() and path.name not in apart
    ]
    inside, peers, last, computing = (
        [f"tests/{name}" for name in names] for names in (INSIDE, PEERS, LAST, COMPUTING)
    )
    with tempfile.TemporaryFile() as said:
        # First what gives way to everything; what waits for others last, when least else runs.
        beside = [
            lambda: session(
                python, [*computing, *arguments], source=True, output=said, niceness=19
            ),
            lambda: session(python, [*PROPERTIES, *arguments], output=said, niceness=19),
            lambda: session(python, [*inside, *arguments], source=True, output=said, niceness=5),
            lambda: session(python, [*peers, *arguments], output=said),
            lambda: session(python, [*last, *arguments], output=said),
        ]
        with ThreadPoolExecutor(1) as lane:
            codes = [lane.submit(lambda start=start: start().wait()) for start in beside]
            code = session(python, [*others, *arguments]).wait()
        code = max([code, *(waited.result() for waited in codes)])
        said.seek(0)
        print(said.read().decode(errors="replace"), flush=True)
    return code


def session(
    python: Path,
    arguments: list[str],
    *,
    source: bool = False,
    output: IO[bytes] | None = None,
    niceness: int = 0,
) -> subprocess.Popen[bytes]:
    """On what was installed, or, with `source`, on the tree (programs are the installed ones)."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # pytest puts the tree on the path: what is to come from elsewhere is imported before.
    first = "pytest" if source else "pytest, shedproxy"
    script = (
        f"import os, sys; os.nice({niceness}); sys.path[:] = [p for p in sys.path if p]; "
        f"import {first}; sys.exit(pytest.main())"
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
