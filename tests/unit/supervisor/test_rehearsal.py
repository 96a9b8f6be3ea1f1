"""What a worker would refuse is refused before there is one."""

from __future__ import annotations

import pytest

from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import (
    Classification,
    Document,
    ProxyDocument,
    RejectDocument,
    TlsDocument,
    UpstreamDocument,
)
from shedproxy.supervisor.rehearsal import rehearse


def upstream(url, **tls):
    return ProxyDocument(upstreams=(UpstreamDocument(urls=(url,), tls=TlsDocument(**tls)),))


def test_a_good_document_passes():
    rehearse(Document(proxy=upstream("http://127.0.0.1:1")))


@pytest.mark.parametrize(
    ("section", "document"),
    [
        ("reject", Document(reject=RejectDocument(headers=(("x", "a\nb"),)))),
        ("server", Document(proxy=ProxyDocument(via="a b"))),
        ("cell", Document(proxy=upstream("gopher://a"))),
        ("cell", Document(proxy=upstream("https://a", ca="/nowhere.pem"))),
    ],
)
def test_what_cannot_be_built_is_named_with_its_section(section, document):
    with pytest.raises(DocumentInvalidError) as caught:
        rehearse(document)
    (problem,) = caught.value.problems
    assert problem.path == (section,)
    assert problem.message.startswith(f"{section}: ")


def test_a_part_that_knows_better_names_the_place_itself():
    strange = Document(classification=Classification(trusted_peers=("nowhere",)))
    with pytest.raises(DocumentInvalidError) as caught:
        rehearse(strange)
    (problem,) = caught.value.problems
    assert problem.path == ("trusted_peers", "nowhere")


def test_every_part_that_fails_is_named_at_once():
    bad = Document(reject=RejectDocument(front="?"), proxy=ProxyDocument(via="a b"))
    with pytest.raises(DocumentInvalidError) as caught:
        rehearse(bad)
    assert [problem.path for problem in caught.value.problems] == [("reject",), ("server",)]
