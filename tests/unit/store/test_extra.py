"""What is not installed is named, with how to install it."""

from __future__ import annotations

import pytest

from shedproxy.errors import StartupError
from shedproxy.store.extra import import_extra


def test_what_is_installed_is_imported():
    import json

    assert import_extra("json") is json


def test_what_is_not_installed_is_named():
    with pytest.raises(StartupError, match=r"need nothere, .*shedproxy\[control\]"):
        import_extra("nothere.submodule")
