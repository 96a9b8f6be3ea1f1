from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from shedproxy.dataplane.asgi_worker import AsgiService
from shedproxy.dataplane.driver import Driver
from shedproxy.errors import DocumentInvalidError, StartupError
from shedproxy.snapshot import Classification, Document


def test_a_document_that_cannot_be_run_changes_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tiny_shop.py").write_text("async def app(scope, receive, send): ...\n")
    driver = Driver(Document())
    service = AsgiService(driver, "tiny_shop:app", app_dir=str(tmp_path))
    bad = replace(driver.document, classification=Classification(trusted_peers=("nowhere",)))
    before = driver.document
    with pytest.raises(DocumentInvalidError):
        service.apply(bad)
    assert driver.document is before
    good = replace(before, revision=7)
    service.apply(good)
    assert driver.document is good


def test_without_an_application_there_is_no_service() -> None:
    with pytest.raises(StartupError, match="no_such_module"):
        AsgiService(Driver(Document()), "no_such_module:app")
