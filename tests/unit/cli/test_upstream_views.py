"""Hosts and magazines on a page; the whole of it is in test_remote_commands."""

from __future__ import annotations

from shedproxy.cli.upstream_views import print_upstreams


def test_nothing_is_said_of_nothing(capsys):
    print_upstreams({"hosts": [], "magazines": [], "bullets": [], "fault": ""})
    assert capsys.readouterr().out == ""
