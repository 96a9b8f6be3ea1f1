from __future__ import annotations

import pytest

from shedproxy.dataplane.asgi_worker import load_application
from shedproxy.errors import StartupError


@pytest.fixture
def folder(tmp_path, monkeypatch) -> str:
    import sys

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "small_shop.py").write_text(
        "class inner:\n    app = 'the app'\ndef make():\n    return 'made'\n"
    )
    (tmp_path / "broken_shop.py").write_text("import no_such_library\n")
    return str(tmp_path)


def test_an_application_is_found_by_module_and_dotted_name(folder: str) -> None:
    assert load_application("small_shop:inner.app", app_dir=folder) == "the app"
    assert load_application("small_shop:make", app_dir=folder, is_factory=True) == "made"


@pytest.mark.parametrize("target", ["no_such_shop:app", "small_shop:other"])
def test_what_is_not_there_is_named(folder: str, target: str) -> None:
    with pytest.raises(StartupError, match=r"no_such_shop|other"):
        load_application(target, app_dir=folder)


def test_a_library_that_the_application_lacks_is_its_own_error(folder: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_application("broken_shop:app", app_dir=folder)
