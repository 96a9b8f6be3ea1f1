"""A browser for the modules that look at a page of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.browser import Browser


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Browser]:
    """The page, newly opened. Whatever a test does there: no complaint, and no second request."""
    browser.open(url)
    yield browser
    browser.run("null")  # after its answer everything that happened before it has been told
    assert browser.complaints == []
    assert [asked for asked in browser.requested if not asked.startswith("data:")] == [url]
