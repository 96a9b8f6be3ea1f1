"""The build says what it is."""

from __future__ import annotations

from shedproxy.core import Shedder
from shedproxy.observability.build import BUILD


def test_it_is_compiled_where_a_method_is_no_python_function() -> None:
    is_python = hasattr(Shedder.arrive, "__code__")
    assert ("pure Python" if is_python else "compiled") == BUILD
