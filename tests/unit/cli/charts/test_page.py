"""A report page is one file that needs nothing and lets nothing out."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from harness.pages import Page

from shedproxy.cli.charts.markup import element
from shedproxy.cli.charts.page import asset, embedded_json, render_page


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(
        title="A & B",
        header=element("h1", "A & B"),
        body=element("p", "text"),
        footer="made <by> hand",
    )


def test_the_parts_are_where_they_belong(page):
    assert page.startswith("<!doctype html>\n<html lang=")
    text = Page(page).text
    assert "A & B" in text
    assert "made <by> hand" in text
    assert page.index("<h1>") < page.index("<p>text</p>") < page.index("made &lt;by&gt; hand")


def test_nothing_is_fetched(page):
    """No address in an attribute but of this page and of data, and none in the styles."""
    addresses = [
        value
        for _, attributes in Page(page).elements
        for name, value in attributes.items()
        if name in {"src", "href", "action", "srcset", "data"} and value is not None
    ]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"url\(|@import", asset("report.css") + asset("uplot/uPlot.min.css"))


def test_the_policy_allows_these_scripts_and_no_connection(page):
    """Digests are of the very text between the tags, else a browser would refuse to run it."""
    policies = [a["content"] for name, a in Page(page).elements if "http-equiv" in a]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none';")
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 2
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = re.search(r"script-src ([^;]*)", policies[0])
    assert allowed is not None
    assert allowed[1].split() == [f"'sha256-{digest}'" for digest in digests]


def test_the_licence_travels_with_the_chart_library(page):
    assert "The MIT License" in page
    assert "Leon Sorokin" in page


def test_the_chart_library_is_the_published_one():
    """Its note says which files of which release they are, by digest."""
    rows = re.findall(r"^\| `(\S+)` \| `\S+` \| `(\w{64})` \|$", asset("uplot/README.md"), re.M)
    assert {name for name, _ in rows} == {"uPlot.iife.min.js", "uPlot.min.css", "LICENSE"}
    for name, digest in rows:
        assert hashlib.sha256(asset(f"uplot/{name}").encode()).hexdigest() == digest


def test_data_cannot_end_its_element():
    hostile = {"name": "</script><script>alert(1)</script><!--", "values": [1, 2.5, None, "&"]}
    made = embedded_json(hostile)
    assert made.count("<") == 2
    assert json.loads(Page(made).data[0]) == hostile


def test_data_says_what_json_can_say_only():
    with pytest.raises(ValueError, match="JSON compliant"):
        embedded_json([float("nan")])
