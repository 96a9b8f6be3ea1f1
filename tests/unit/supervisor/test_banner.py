from __future__ import annotations

from shedproxy.core import CellPolicy, LimitPolicy, Mode, Policy
from shedproxy.snapshot import Document, ProxyDocument, UpstreamDocument
from shedproxy.supervisor.banner import render_banner


def document(mode=Mode.ENFORCE, **limit) -> Document:
    return Document(
        policy=Policy(mode=mode, cells=(CellPolicy(limit=LimitPolicy(**limit)),)),
        proxy=ProxyDocument(upstreams=(UpstreamDocument(urls=("http://a:1", "http://b:2")),)),
    )


def test_says_where_what_and_how():
    text = render_banner(
        document(algorithm="fixed", initial=7),
        listening=["127.0.0.1:8080"],
        control=["127.0.0.1:9900"],
        order_key="/run/user/7/shedproxy/orders-127.0.0.1:9900",
    )
    assert "protecting  http://127.0.0.1:8080  ->  http://a:1, http://b:2" in text
    assert "http://127.0.0.1:9900" in text
    assert "enforce" in text
    assert "7 in flight, fixed" in text
    assert "settings    no file" in text
    assert "key is in /run/user/7/shedproxy/orders-127.0.0.1:9900\n" in text


def test_observe_says_how_to_act():
    text = render_banner(
        document(Mode.OBSERVE), listening=["unix:/s"], control=[], file="a.toml", target="app:app"
    )
    assert "observing   unix:/s  ->  app:app" in text
    assert "settings    a.toml" in text
    assert "orders" not in text
    assert "--enforce" in text
