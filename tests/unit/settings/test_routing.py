"""`[cells]`: what a key may be."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("key", ["header:X-Tenant", "api-key:authorization", "path:1", "host"])
def test_a_key_is_taken_in_lower_case(written, key):
    loaded = written.load(f'[cells]\nkey = "{key}"\nsecret = "s"').settings
    assert loaded.cells.key == key.lower()


@pytest.mark.parametrize("key", ["cookie:id", "header:", "path:0", "Host"])
def test_what_is_no_key_is_refused_with_what_would_be(written, key):
    problem = written.problem(f'[cells]\nkey = "{key}"')
    assert problem.message == f'cells.key: "{key}" is no key of a request'
    assert "header:NAME" in problem.help
