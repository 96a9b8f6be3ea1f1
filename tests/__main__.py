"""The test command: `python3 -m tests`.

Builds the wheel, installs it in a fresh virtual environment, and runs the whole suite there with
pytest: format, lint, types and import rules are tests like any other. Needs Python 3.11 and pip.

    python3 -m tests                 everything that this machine can run
    python3 -m tests --peers         a missing peer (nginx, HAProxy, Envoy, ...) is a failure
    python3 -m tests -k wire -x      what pytest takes, it gets
    python3 -m tests --here          in the environment that is active, without a build

Run whole, it is three lanes of sessions, side by side. What is installed is compiled where there is
a C compiler, and what talks to it from outside or drives its insides as they are runs on that, in
two lanes: it mostly waits. Tests that reach into a class, fuzzing and whatever only computes run on
the source tree, in the third, at a low priority: they take what the others leave, and begin while
the wheel is still being built. The properties are run on both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
PROPERTIES = (
    "property/test_cold_start.py",
    "property/test_overload.py",
    "property/test_queue_fairness.py",
    "property/test_replay.py",
    "property/test_shedder.py",
    "property/test_simulated_worlds.py",
)
"""What holds of the source has to hold of what was compiled from it."""


@dataclass(frozen=True, slots=True)
class Session:
    """One run of pytest."""

    places: Sequence[str]
    """In `tests`."""
    on_source: bool = False
    """Tests import the tree; programs that they start are what was installed."""
    needs_wheel: bool = True
    """Else these are of the tree too."""
    niceness: int = 0


EARLY = Session(
    ("architecture", "property", "unit"), on_source=True, needs_wheel=False, niceness=19
)
"""What needs a processor and nothing else."""
COMPUTING = (
    Session(PROPERTIES, niceness=19),
    Session(("attacks", "fuzz"), on_source=True, niceness=5),
)
WAITING = (
    (Session(("integration",)),),
    (Session(("conformance", "peers")), Session(("faults",)), Session(("soak",))),
)
"""Two lanes that take about the same time. The first says what it does while it does it."""


def run(*command: str | Path) -> None:
    """Run a step and stop at the first that fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def tested(python: Path, arguments: list[str], install: Callable[[], None]) -> int:
    """The suite, in one session when it is asked for a part of it. The worst code."""
    if any(not argument.startswith("-") for argument in arguments):
        install()
        return begun(Session((), on_source=True), python, arguments).wait()
    with ExitStack() as stack:
        quiet = [stack.enter_context(tempfile.TemporaryFile()) for _ in WAITING]
        early = begun(EARLY, python, arguments, quiet[0])
        stack.callback(early.wait)
        stack.callback(early.terminate)  # whatever happens to the wheel
        install()

        def in_turn(sessions: Sequence[Session], output: IO[bytes] | None) -> int:
            return max(abs(begun(one, python, arguments, output).wait()) for one in sessions)

        with ThreadPoolExecutor(len(WAITING)) as lanes:
            aloud, *others = WAITING
            codes = [
                lanes.submit(lambda: max(abs(early.wait()), in_turn(COMPUTING, quiet[0]))),
                *(
                    lanes.submit(in_turn, sessions, output)
                    for sessions, output in zip(others, quiet[1:], strict=True)
                ),
            ]
            code = in_turn(aloud, None)
        for said in quiet:
            said.seek(0)
            print(said.read().decode(errors="replace"), flush=True)
        return max([code, *(waited.result() for waited in codes)])


def begun(
    session: Session, python: Path, arguments: list[str], output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """pytest, in a process of its own."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if not session.needs_wheel:
        environ["PYTHONPATH"] = str(ROOT)
    # pytest puts the tree on the path: what is to come from elsewhere is imported before.
    first = "pytest" if session.on_source else "pytest, shedproxy"
    script = (
        f"import os, sys; os.nice({session.niceness}); sys.path[:] = [p for p in sys.path if p]; "
        f"import {first}; sys.exit(pytest.main())"
    )
    places = [f"tests/{place}" for place in session.places]
    command = [str(python), "-P", "-c", script, *places, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)


def dependencies(*extras: str) -> list[str]:
    """What pip will look for when it installs the wheel: it can be there before the wheel is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = list(project["dependencies"])
    for extra in extras:
        for wanted in project["optional-dependencies"][extra]:
            if wanted.startswith("shedproxy["):
                found += dependencies(*wanted.removeprefix("shedproxy[").rstrip("]").split(","))
            else:
                found.append(wanted)
    return found


def main(arguments: list[str]) -> int:
    """Build, install, test."""
    if "--here" in arguments:
        arguments.remove("--here")
        return tested(Path(sys.executable), arguments, install=lambda: None)
    if sys.version_info < (3, 11):
        sys.exit("shedproxy needs Python 3.11 or newer; this is " + sys.version.split()[0])
    with tempfile.TemporaryDirectory(prefix="shedproxy-tests-") as scratch:
        home = Path(scratch)
        print("building the wheel and a fresh environment for it ...", flush=True)
        venv.create(home / "env", with_pip=True)
        python = home / "env" / "bin" / "python"
        pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
        lock = ROOT / ".ci" / "requirements.lock"
        pinned = ("--constraint", lock) if lock.exists() else ()
        extras = ("dev", "envoy") if "--peers" in arguments else ("dev",)
        with ThreadPoolExecutor(1) as beside:
            building = beside.submit(run, *pip, "wheel", "--no-deps", "--wheel-dir", home, ".")
            run(*pip, "install", *pinned, *dependencies(*extras))

            def install() -> None:
                building.result()
                wheel = next(home.glob("shedproxy-*.whl"))
                run(*pip, "install", *pinned, f"{wheel}[{','.join(extras)}]")

            return tested(python, arguments, install)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
