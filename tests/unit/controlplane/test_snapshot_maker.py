"""Settings texts become snapshots that a host takes, or are refused with their lines."""

from __future__ import annotations

import pytest
from harness.snapshots import Fleet as Keys

from shedproxy.controlplane.fleet import Release, Shift
from shedproxy.controlplane.move import MoveBook
from shedproxy.controlplane.releases import Request
from shedproxy.controlplane.snapshot_maker import SnapshotMaker
from shedproxy.errors import ConfigInvalidError
from shedproxy.snapshot import Document
from shedproxy.store import KeyRing
from shedproxy.supervisor.rehearsal import rehearse
from shedproxy.supervisor.snapshot_judge import SnapshotJudge

TEXT = '[cell.default]\nupstream = ["http://127.0.0.1:1 zone=p", "http://127.0.0.1:2 zone=q"]\n'


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


def test_a_host_that_trusts_the_key_takes_what_is_made(keys):
    maker = SnapshotMaker(keys.key.sign, rehearse)
    request = Request(
        release=Release(digest="sha256:1", at_s=1, by="ann"), cell="", zone="p",
        shifts=(Shift(zone="q", until_s=99),), moves=MoveBook(), revision=7, issued_at_s=50,
    )  # fmt: skip
    judge = SnapshotJudge(
        KeyRing([keys.public]), size_max=1 << 24, shed_max=0.2, local=Document, needs_upstream=True
    )
    found = judge.judge(maker.make(request, {"": TEXT}))
    assert found.revision == 7
    assert found.document.proxy.zone == "p"
    assert found.document.proxy.zones_away == ("q",)


def test_a_text_is_compiled_once_and_the_oldest_is_forgotten(keys):
    tried = []
    maker = SnapshotMaker(keys.key.sign, tried.append)
    assert maker.compile(TEXT, "a") is maker.compile(TEXT, "b")
    for number in range(20):
        maker.compile(f"{TEXT}limit = {number + 1}\n", "c")
    maker.compile(TEXT, "a")
    assert len(tried) == 22


def test_what_settings_say_of_keys_and_of_room_for_them_is_read_from_the_text(keys):
    maker = SnapshotMaker(keys.key.sign, rehearse)
    text = f"""{TEXT}
[cells]
key = "host"
demand = 90.0
weights = {{ small = 1, default = 2 }}
[cell.small]
upstream = ["http://127.0.0.1:3", "http://127.0.0.1:4"]
[cell.small.limit]
max = 8
baseline = "200ms"
"""
    placing = maker.placing(text, "edge.toml")
    assert (placing.routing.key, placing.is_believed) == ("host", True)
    assert placing.cells == {"default", "small"}
    assert placing.most_rps == {"small": 40.0}
    assert placing.placed_rps == {"small": 30.0, "default": 60.0}
    named = text.replace('"host"', '"header:x-tenant"')
    assert not maker.placing(named, "edge.toml").is_believed
    trusting = f'{named}[server]\ntrusted_proxies = "10.0.0.0/8"\n'
    assert maker.placing(trusting, "edge.toml").is_believed


def test_what_is_wrong_is_named_by_the_file(keys):
    maker = SnapshotMaker(keys.key.sign, rehearse)
    with pytest.raises(ConfigInvalidError) as caught:
        maker.compile("[cell.default]\nlimit = 0\n", "edge.toml")
    (problem,) = caught.value.problems
    assert (problem.source, problem.line) == ("edge.toml", 2)


@pytest.mark.parametrize("text", ["", "[server]\nworkers = 2\n"])
def test_settings_that_every_host_would_refuse_as_empty_are_refused_here(keys, text):
    with pytest.raises(ConfigInvalidError) as caught:
        SnapshotMaker(keys.key.sign, rehearse).compile(text, "edge.toml")
    (problem,) = caught.value.problems
    assert problem.source == "edge.toml"
    assert "say nothing of the policy" in problem.message
