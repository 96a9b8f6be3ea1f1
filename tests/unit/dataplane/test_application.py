from __future__ import annotations

import sys

import pytest

from shedproxy.dataplane.application import load_application
from shedproxy.errors import StartupError

SHOP = """
class inner:
    async def app(scope, receive, send): ...
async def app(scope, receive, send): ...
def make():
    return app
def fail():
    raise ValueError("no database")
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> str:
    monkeypatch.setattr(sys, "path", list(sys.path))
    files = {
        "small_shop": SHOP,
        "lacking_shop": "import no_such_library\n",
        "broken_shop": "\nraise RuntimeError('boom')\n",
        "leaving_shop": "raise SystemExit('no licence')\n",
        "unread_shop": "def f(:\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    yield str(tmp_path)
    for name in files:
        sys.modules.pop(name, None)


def failure(folder: str, target: str, **options) -> str:
    with pytest.raises(StartupError) as caught:
        load_application(target, app_dir=folder, **options)
    return str(caught.value)


def test_an_application_is_found_by_module_and_dotted_name(folder: str) -> None:
    app = load_application("small_shop:app", app_dir=folder)
    assert app is sys.modules["small_shop"].app
    assert load_application("small_shop:inner.app", app_dir=folder)
    assert load_application("small_shop:make", app_dir=folder, is_factory=True) is app


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_shop:app", "there is no module 'no_such_shop' in "),
        ("no_such.shop:app", "there is no module 'no_such' in "),
        ("small_shop:other", "module 'small_shop' has no attribute 'other'"),
        ("small_shop:number", "small_shop:number is no application: int is not callable"),
    ],
)
def test_what_is_not_there_is_named(folder: str, target: str, message: str) -> None:
    assert failure(folder, target).startswith(message)


def test_a_factory_taken_for_an_application_and_the_reverse_are_told_apart(folder: str) -> None:
    assert failure(folder, "small_shop:make").endswith("then add --factory")
    assert failure(folder, "small_shop:app", is_factory=True).endswith("then leave --factory out")
    assert "int is not callable" in failure(folder, "small_shop:number", is_factory=True)


@pytest.mark.parametrize(
    ("target", "first", "place", "last"),
    [
        ("lacking_shop:app", "importing 'lacking_shop' failed", 'lacking_shop.py", line 1',
         "ModuleNotFoundError: No module named 'no_such_library'"),
        ("broken_shop:app", "importing 'broken_shop' failed", 'broken_shop.py", line 2',
         "RuntimeError: boom"),
        ("leaving_shop:app", "importing 'leaving_shop' failed", 'leaving_shop.py", line 1',
         "SystemExit: no licence"),
        ("unread_shop:app", "importing 'unread_shop' failed", 'unread_shop.py", line 1',
         "SyntaxError: invalid syntax"),
        ("small_shop:fail", "calling small_shop:fail failed", 'small_shop.py", line 8',
         "ValueError: no database"),
    ],
)  # fmt: skip
def test_what_fails_is_told_with_its_own_part_of_the_traceback(
    folder: str, target: str, first: str, place: str, last: str
) -> None:
    text = failure(folder, target, is_factory=target.endswith(":fail"))
    lines = text.split("\n")
    assert (lines[0], lines[-1]) == (first, last)
    assert place in text
    assert "importlib" not in text
    assert "load_application" not in text
