"""Loading, reloading, watching, overriding: the last good configuration is always in force."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from shedproxy.clock import wall_seconds
from shedproxy.core import Instant, Mode, milliseconds, seconds
from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.supervisor.configuration import Configuration
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

GOOD = '[cell.default]\nupstream = "http://127.0.0.1:8000"\nlimit = {limit}\n'


def write(file: Path, limit: object) -> Path:
    file.write_text(GOOD.format(limit=limit))
    return file


def configure(file: Path | None, **options) -> Configuration:
    options.setdefault("apply_period", milliseconds(20))
    options.setdefault("overrides", {})
    return Configuration(file, environ={}, **options)


def limit_of(configuration: Configuration) -> int:
    return configuration.document.policy.cells[0].limit.initial


@contextlib.asynccontextmanager
async def running(configuration: Configuration):
    task = asyncio.create_task(configuration.run())
    try:
        yield configuration
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_the_first_document_is_revision_1(tmp_path):
    configuration = configure(write(tmp_path / "a.toml", 7))
    assert configuration.document.revision == 1
    assert limit_of(configuration) == 7


async def test_a_bad_file_at_the_start_is_refused_with_every_problem(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('mode = "loud"\nspeed = 3\n')
    with pytest.raises(ConfigInvalidError) as caught:
        configure(file)
    assert len(caught.value.problems) == 2


async def test_what_cannot_be_run_is_refused_too():
    def check(_):
        raise ConfigInvalidError([Problem(message="no upstream")])

    with pytest.raises(ConfigInvalidError, match="no upstream"):
        configure(None, check=check)


async def test_a_reload_applies_a_new_revision_and_tells(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    configuration = configure(file)
    documents: list = []
    configuration.on_document = documents.append
    async with running(configuration):
        write(file, 9)
        result = await configuration.request_reload("request")
        assert (result.ok, result.cause, result.revision) == (True, "request", 2)
        assert limit_of(configuration) == 9
        assert documents == [configuration.document]
        assert documents[0].revision == 2


async def test_a_reload_that_breaks_the_reader_ends_nothing(tmp_path):
    file = write(tmp_path / "a.toml", 7)

    def check(loaded):
        if loaded.document.policy.cells[0].limit.initial == 8:
            raise RuntimeError("a bug")

    configuration = configure(file, check=check)
    async with running(configuration):
        write(file, 8)
        result = await configuration.request_reload("request")
        assert not result.ok
        assert "RuntimeError: a bug" in result.problems[0].message
        write(file, 9)
        assert (await configuration.request_reload("request")).ok
        assert limit_of(configuration) == 9


@pytest.mark.parametrize("text", [f"a = {'9' * 5000}", f"a{'.a' * 5000} = 1"])
async def test_a_file_that_python_cannot_take_is_refused(tmp_path, text):
    """K5."""
    file = write(tmp_path / "a.toml", 7)
    configuration = configure(file)
    async with running(configuration):
        file.write_text(text)
        result = await configuration.request_reload("request")
        assert not result.ok
        assert result.problems[0].source == str(file)
        assert limit_of(configuration) == 7


async def test_a_bad_reload_keeps_the_last_good_one(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    configuration = configure(file)
    documents: list = []
    configuration.on_document = documents.append
    async with running(configuration):
        for bad in ("limit = ", 'mode = "loud"\n', "", None):
            if bad is None:
                file.unlink()
            elif bad == "":
                write(file, 0)
            else:
                file.write_text(bad)
            result = await configuration.request_reload("sighup")
            assert not result.ok
            assert result.problems
        assert configuration.last_result is result
        assert configuration.refusals == 4
        assert configuration.revision == 1
        assert limit_of(configuration) == 7
        assert documents == []


async def test_a_flapping_file_is_applied_at_a_bounded_rate_and_the_last_wins(tmp_path):
    file = write(tmp_path / "a.toml", 1)
    configuration = configure(file, apply_period=milliseconds(200))
    async with running(configuration):
        answers = []
        for limit in range(2, 40):
            write(file, limit)
            answers.append(configuration.request_reload("request"))
            await asyncio.sleep(0.01)
        results = await asyncio.gather(*answers)
        assert all(result.ok for result in results)
        assert limit_of(configuration) == 39
        assert configuration.reloads <= 10


async def test_settings_that_only_a_start_reads_are_named(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    configuration = configure(file)
    async with running(configuration):
        server = '[server]\nlisten = ":1"\nstate_file = "state.json"\n'
        others = '[control]\nlisten=":2"\n[telemetry]\notlp = true\n'
        file.write_text(GOOD.format(limit=8) + server + others)
        result = await configuration.request_reload("request")
        assert result.ok
        assert result.needs_restart == (
            *("server.listen", "server.state_file", "control.listen"),
            "telemetry.otlp",
        )
        again = await configuration.request_reload("request")
        assert again.needs_restart == result.needs_restart, "until it was restarted"
        write(file, 9)
        assert not (await configuration.request_reload("request")).needs_restart


async def test_to_begin_with_tls_needs_a_restart_and_another_certificate_does_not(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    plain, authority = file.read_text(), trustme.CA()
    for name in ("one", "two"):
        pem = authority.issue_cert(name).private_key_and_cert_chain_pem
        pem.write_to_path(str(tmp_path / name))

    def present(name: str) -> None:
        file.write_text(f'{plain}[server.tls]\ncert = "{name}"\nkey = "{name}"\n')

    async def reload(configuration) -> tuple[str, ...]:
        result = await configuration.request_reload("request")
        assert result.ok, result.problems
        return result.needs_restart

    async with running(configure(file)) as configuration:
        present("one")
        assert await reload(configuration) == ("server.tls",)
    async with running(configure(file)) as configuration:
        present("two")
        assert await reload(configuration) == ()


@pytest.mark.integration
async def test_a_written_file_is_noticed(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    async with running(configure(file)) as configuration:
        await asyncio.sleep(0.1)
        write(file, 8)
        await eventually_async(lambda: limit_of(configuration) == 8)
        assert configuration.last_result.cause == "file"


@pytest.mark.integration
async def test_a_swapped_link_is_noticed(tmp_path):
    for name, limit in (("one", 7), ("two", 8)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "shedproxy.toml", limit)
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(tmp_path / "one")
    (mount / "shedproxy.toml").symlink_to("..data/shedproxy.toml")
    async with running(configure(mount / "shedproxy.toml")) as configuration:
        await asyncio.sleep(0.1)
        (mount / "..new").symlink_to(tmp_path / "two")
        os.replace(mount / "..new", mount / "..data")
        await eventually_async(lambda: limit_of(configuration) == 8)


async def test_an_override_wins_over_the_file_and_survives_a_reload(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    configuration = configure(file)
    modes: list = []
    configuration.on_mode = lambda mode, cause: modes.append((mode, cause))
    async with running(configuration):
        configuration.set_override(Mode.OBSERVE, seconds(60), cause="set by me")
        assert configuration.document.policy.mode is Mode.OBSERVE
        write(file, 8)
        await configuration.request_reload("request")
        assert configuration.mode is Mode.OBSERVE
        assert configuration.document.policy.mode is Mode.OBSERVE
        configuration.clear_override(cause="ended by me")
        assert configuration.document.policy.mode is Mode.ENFORCE
        assert modes == [(Mode.OBSERVE, "set by me"), (Mode.ENFORCE, "ended by me")]


async def test_an_override_ends_by_itself():
    configuration = configure(None)
    async with running(configuration):
        configuration.set_override(Mode.OFF, milliseconds(50), cause="set")
        assert configuration.mode is Mode.OFF
        await eventually_async(lambda: configuration.mode is Mode.ENFORCE)
        assert configuration.override is None


async def test_a_later_override_replaces_the_end_of_the_first():
    configuration = configure(None)
    async with running(configuration):
        configuration.set_override(Mode.OFF, milliseconds(30), cause="first")
        override = configuration.set_override(Mode.OBSERVE, seconds(60), cause="second")
        await asyncio.sleep(0.1)
        assert configuration.override is override


async def test_a_stopped_clock_ends_nothing():
    configuration = configure(None, clock=lambda: Instant(1))
    async with running(configuration):
        configuration.set_override(Mode.OFF, milliseconds(10), cause="set")
        await asyncio.sleep(0.05)
        assert configuration.mode is Mode.OFF


async def test_cells_keep_their_numbers_over_reloads(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    base = file.read_text()
    cell = '[cell.{name}]\nupstream = "http://127.0.0.1:8000"\n'
    file.write_text(base + cell.format(name="a") + cell.format(name="b"))
    configuration = configure(file)
    assert configuration.document.numbered_cells == ("default", "a", "b")
    async with running(configuration):
        file.write_text(base + cell.format(name="c") + cell.format(name="b"))
        result = await configuration.request_reload("request")
        assert result.ok
        assert configuration.document.numbered_cells == ("default", "a", "b", "c")


async def test_managed_nothing_but_a_snapshot_and_the_break_glass_changes_the_policy(tmp_path):
    (tmp_path / "fleet.pub").write_text("key")
    managed = '[snapshot]\nsource = "current"\nkeys = "fleet.pub"\nfolder = "kept"\n'
    file = write(tmp_path / "a.toml", 7)
    file.write_text(file.read_text() + managed)
    configuration = configure(file)
    async with running(configuration):
        document = configuration.document
        file.write_text(file.read_text() + '[log]\nlevel = "debug"\n')
        assert (await configuration.request_reload("request")).ok
        assert configuration.loaded.settings.log.level == "debug"
        file.write_text(file.read_text().replace("limit = 7", "limit = 8"))
        result = await configuration.request_reload("request")
        assert not result.ok
        (problem,) = result.problems
        assert "signed snapshots: a change of cell.default.limit" in problem.message
        assert (problem.source, problem.line) == (str(file), 3)
        assert configuration.document.policy == document.policy
        policy = dataclasses.replace(document.policy, mode=Mode.OBSERVE)
        configuration.adopt(dataclasses.replace(document, policy=policy))
        assert configuration.mode is configuration.configured_mode is Mode.OBSERVE
        configuration.set_override(Mode.OFF, seconds(60), cause="set by me")
        assert configuration.mode is Mode.OFF
        configuration.clear_override(cause="ended by me")
        assert configuration.mode is Mode.OBSERVE


def zoned(tmp_path):
    return write_text(tmp_path, '["http://a:1 zone=a", "http://b:1 zone=b"]')


def write_text(tmp_path, upstream):
    file = tmp_path / "zones.toml"
    file.write_text(f'[cell.default]\nupstream = {upstream}\nwaive = ["zone-headroom"]\n')
    return file


async def test_a_zone_that_is_weighed_away_is_in_the_document_over_reloads(tmp_path):
    configuration = configure(zoned(tmp_path))
    documents: list = []
    told: list = []
    configuration.on_document = documents.append
    configuration.on_zones = lambda zone, cause: told.append((zone, cause))
    async with running(configuration):
        configuration.shift_zone("b", seconds(60), cause="set by me")
        assert documents[-1].proxy.zones_away == ("b",)
        assert documents[-1].revision == configuration.revision == 2
        await configuration.request_reload("request")
        assert configuration.document.proxy.zones_away == ("b",)
        configuration.return_zone("b", cause="ended by me")
        configuration.return_zone("b", cause="ended again")
        assert configuration.document.proxy.zones_away == ()
        assert told == [("b", "set by me"), ("b", "ended by me")]


async def test_a_zone_comes_back_by_itself(tmp_path):
    configuration = configure(zoned(tmp_path))
    async with running(configuration):
        configuration.set_override(Mode.OFF, seconds(60), cause="beside it")
        configuration.shift_zone("b", milliseconds(50), cause="set")
        await eventually_async(lambda: not configuration.document.proxy.zones_away)
        assert configuration.mode is Mode.OFF


async def test_a_zone_that_a_snapshot_weighs_away_comes_back_without_another_snapshot(tmp_path):
    configuration = configure(zoned(tmp_path))
    document = configuration.document
    async with running(configuration):
        until_s = int(wall_seconds()) + 1
        proxy = replace(document.proxy, zones_away=("b",), zones_away_until_s=(until_s,))
        configuration.adopt(replace(document, proxy=proxy))
        assert configuration.document.proxy.zones_away == ("b",)
        await eventually_async(lambda: not configuration.document.proxy.zones_away)
        assert wall_seconds() >= until_s


async def test_what_was_written_during_the_start_is_noticed(tmp_path):
    file = write(tmp_path / "a.toml", 7)
    configuration = configure(file)
    write(file, 8)
    async with running(configuration):
        await eventually_async(lambda: limit_of(configuration) == 8)
