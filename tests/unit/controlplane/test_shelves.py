"""What hosts pull and say, in a real folder."""

from __future__ import annotations

import pytest

from shedproxy.controlplane.fleet import Edition, Fleet
from shedproxy.controlplane.ledger import LedgerDamagedError
from shedproxy.controlplane.releases import encode_release, release_digest
from shedproxy.controlplane.shelves import Shelves
from shedproxy.core import seconds
from shedproxy.snapshot import STATUS_REPORT_SIZE, StatusReport, encode_report
from shedproxy.store import open_store

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path):
    return open_store(f"file://{tmp_path}/fleet", timeout=seconds(5))


@pytest.fixture
def told():
    return []


@pytest.fixture
def shelves(store, told):
    return Shelves(store, lambda event, facts: told.append((event, facts)), refresh=3)


def edition(host: str, revision: int) -> Edition:
    return Edition(
        host=host, revision=revision, release="r", key="k", digest=f"sha256:{revision:064d}"
    )


async def test_a_release_is_kept_under_its_digest(shelves, store, tmp_path):
    data = encode_release({"": "x"})
    for _ in range(2):
        await shelves.put_release(data)
    assert await shelves.texts(release_digest(data)) == {"": "x"}
    with pytest.raises(LedgerDamagedError, match="release sha256:00"):
        await shelves.texts("sha256:00")
    other = encode_release({"": "y"})
    name = release_digest(other).removeprefix("sha256:")
    (tmp_path / "fleet/releases" / name).write_bytes(data)
    with pytest.raises(LedgerDamagedError, match="damaged"):
        await shelves.texts(release_digest(other))


async def test_many_releases_are_not_all_remembered(shelves):
    digests = []
    for number in range(20):
        data = encode_release({"": str(number)})
        await shelves.put_release(data)
        digests.append(release_digest(data))
        await shelves.texts(digests[-1])
    assert len(shelves._texts) == 16
    assert await shelves.texts(digests[0]) == {"": "0"}


async def test_reports_are_those_of_the_hosts_themselves(shelves, store, told):
    good = StatusReport(instance="a", boot_id="b", heartbeat=1)
    await store.put("hosts/reports/a", encode_report(good))
    await store.put("hosts/reports/b", encode_report(good))
    await store.put("hosts/reports/c", b"x" * STATUS_REPORT_SIZE)
    assert await shelves.reports("abcd") == {"a": good}
    assert [facts["host"] for _, facts in told] == ["c"]


async def test_each_host_is_handed_its_edition_once_and_again_after_a_while(shelves, store, told):
    fleet = Fleet(editions=(edition("a", 1), edition("b", 1), edition("c", 2)))
    await shelves.put_editions({fleet.editions[0].object_name: b"one"})
    await shelves.hand_out(fleet)
    assert await store.get("hosts/a", 9) == await store.get("hosts/b", 9) == b"one"
    assert told == [("edition missing", {"name": fleet.editions[2].object_name})]
    await store.put("hosts/a", b"lost")
    await shelves.hand_out(fleet)
    assert await store.get("hosts/a", 9) == b"lost"
    await shelves.hand_out(fleet)
    assert await store.get("hosts/a", 9) == b"one", "whatever happened to it"
