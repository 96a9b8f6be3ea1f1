"""The shape of the tree: sizes, mirrors, purity, public names."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "shedproxy"
MODULES = sorted(PACKAGE.rglob("*.py"))

MODULE_LINES = 400
FUNCTION_LINES = 60
OVER_MODULE: dict[str, str] = {}
"""Modules over the budget, each with its reason."""
OVER_FUNCTION: dict[str, str] = {}
"""Functions over the budget ("module:function"), each with its reason."""

CORE_MAY_IMPORT = {
    "__future__", "bisect", "collections", "collections.abc", "dataclasses", "enum", "functools",
    "heapq", "itertools", "math", "typing",
}  # fmt: skip
ROOT_ENTRIES = {
    "pyproject.toml", "shedproxy", "benchmarks", "docs", "loadtests", "tests", "Dockerfile",
    "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE",
}  # fmt: skip
NOT_MIRRORED: dict[str, str] = {
    "__main__.py": "two lines, run by tests/integration",
    "clock.py": "reads the clock; everything else is tested with a given time",
    "compiling.py": "read by the compiler; interpreted it does nothing",
    "errors.py": "exceptions without logic",
}
"""Modules without a test module of their own, each with its reason."""


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_and_its_functions_are_within_budget(path: Path) -> None:
    """400 lines a module, 60 a function, or a reason beside the name."""
    text = path.read_text()
    if name_of(path) not in OVER_MODULE:
        assert len(text.splitlines()) <= MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if f"{name_of(path)}:{node.name}" not in OVER_FUNCTION:
                assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=name_of)
def test_core_imports_only_what_is_on_its_list(path: Path) -> None:
    """An allow-list is stronger than any ban."""
    outside = {
        name
        for name in imports_of(path)
        if name not in CORE_MAY_IMPORT
        and not name.startswith("shedproxy.core")
        and name not in {"shedproxy.compiling", "shedproxy.errors"}
    }
    assert not outside


def has_logic(path: Path) -> bool:
    """Whether a module defines a function or method with a body worth a test."""
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(ast.parse(path.read_text()))
    )


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if p.name != "__init__.py" and has_logic(p)],
    ids=name_of,
)
def test_every_module_has_its_test_module(path: Path) -> None:
    """`core/x.py` is tested by `tests/unit/core/test_x.py`."""
    relative = path.relative_to(PACKAGE)
    mirror = ROOT / "tests" / "unit" / relative.parent / f"test_{relative.name}"
    if name_of(path) in NOT_MIRRORED:
        assert not mirror.exists(), "it has a test module now: take it off the list"
        return
    assert mirror.exists(), f"{mirror.relative_to(ROOT)} is missing"


def test_root_holds_the_agreed_entries_only() -> None:
    """Seven entries, the prose and the dot-files."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    top = {line.split("/")[0] for line in listed} or ROOT_ENTRIES
    assert {entry for entry in top if not entry.startswith(".")} == ROOT_ENTRIES


def test_public_names_are_these() -> None:
    """A name more or less is a decision, and belongs in CHANGELOG."""
    import shedproxy

    assert sorted(shedproxy.__all__) == [
        "CellPolicy",
        "Criticality",
        "Document",
        "LimitPolicy",
        "Match",
        "Mode",
        "Policy",
        "QueuePolicy",
        "RejectReason",
        "Rule",
        "ShedMiddleware",
        "ShedproxyError",
        "__version__",
        "criticality",
    ]
    for name in shedproxy.__all__:
        assert getattr(shedproxy, name) is not None


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}; import sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_is_light() -> None:
    """`import shedproxy` brings no asyncio; the middleware no third-party package."""
    bare = modules_after("pass")
    assert "asyncio" not in modules_after("import shedproxy") - bare
    third_party = (
        modules_after("from shedproxy import ShedMiddleware")
        - bare
        - set(sys.stdlib_module_names)
        - {"shedproxy", "shedproxy__mypyc"}
    )
    assert not third_party


def test_installed_package_is_this_tree() -> None:
    """The suite tests the wheel of this tree, not an older one."""
    import shedproxy

    installed = Path(shedproxy.__file__).parent
    for path in MODULES:
        assert (installed / path.relative_to(PACKAGE)).read_text() == path.read_text()
