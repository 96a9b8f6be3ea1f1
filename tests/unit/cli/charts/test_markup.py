"""Markup cannot be made out of text."""

from __future__ import annotations

from shedproxy.cli.charts.markup import Html, element, join


def test_text_is_escaped_and_markup_is_not():
    assert element("p", "a < b & c", Html("<i>d</i>")) == "<p>a &lt; b &amp; c<i>d</i></p>"


def test_attributes_are_escaped_and_named_in_the_way_of_html():
    made = element("a", "x", href='#"&', class_="good", data_value=0.5, hidden=True)
    assert made == '<a href="#&quot;&amp;" class="good" data-value="0.5" hidden>x</a>'


def test_what_is_none_is_left_out_and_zero_is_not():
    made = element("td", None, "0", class_=None, open=False, data_value=0)
    assert made == '<td data-value="0">0</td>'


def test_a_void_element_ends_itself_in_svg_too():
    assert element("line", x1=1) == '<line x1="1"/>'


def test_joined_parts_are_markup_and_only_once_escaped():
    once = join("<", element("b", ">"), None)
    assert once == "&lt;<b>&gt;</b>"
    assert join(once) == once
