"""The state file: whole or not there, never over what is not ours, and never the end of a run."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

import shedproxy
import shedproxy.supervisor.state_file as state_file_module
from shedproxy.core import CellPolicy, Policy, Remembered, milliseconds
from shedproxy.dataplane.classify import Classifier
from shedproxy.snapshot import Classification, Document, Match, Rule, State, encode_state
from shedproxy.supervisor.state_file import StateFile, lasting
from shedproxy.testing import eventually_async

pytestmark = pytest.mark.anyio

KNOWN = Remembered(5_000_000, 40, 1.5)
MEMORY = {"default": {"default": KNOWN}}
NEWER = {"default": {"default": Remembered(6_000_000, 41, 1.5)}}


class Told:
    """A state file with what it said."""

    def __init__(self, file: Path | str, **options) -> None:
        self.events: list[tuple[str, dict]] = []
        options.setdefault("wall", lambda: 1_700_000_060.0)
        self.state = StateFile(
            str(file), lambda event, facts: self.events.append((event, facts)), **options
        )

    async def save(self, memory: dict) -> None:
        await self.state.save(lambda: memory)


def written(file: Path, memory: dict = MEMORY, **change) -> bytes:
    """A state file as another process left it."""
    state = State(memory=memory, written_at=1_700_000_000.0, version="0.0.9")
    data = encode_state(state)
    if change:
        data = json.dumps({**json.loads(data), **change}).encode()
    file.write_bytes(data)
    return data


# --- reading ------------------------------------------------------------------------------------


def test_what_another_process_wrote_is_read_and_said(tmp_path):
    file = tmp_path / "state.json"
    written(file)
    told = Told(file)
    assert told.state.read() == MEMORY
    assert told.events == [
        ("state read", {"file": str(file), "version": "0.0.9", "age_s": 60.0}),
    ]


@pytest.mark.parametrize("name", ["missing", "empty", ""])
def test_nothing_there_is_nothing_to_say(tmp_path, name):
    (tmp_path / "empty").touch()
    told = Told(tmp_path / name if name else "")
    assert told.state.read() == {}
    assert told.events == []


async def test_a_folder_that_is_not_there_is_said_at_once_and_once(tmp_path):
    """Not at the first write, which comes when something was learnt, or never."""
    file = tmp_path / "missing" / "state.json"
    told = Told(file)
    assert told.state.read() == {}
    [(event, facts)] = told.events
    assert event == "state not kept"
    assert (facts["file"], facts["why"]) == (str(file), "No such file or directory")
    assert "what is learnt ends with this process" in facts["help"]
    await told.save(MEMORY)
    assert len(told.events) == 1
    file.parent.mkdir()
    await told.save(MEMORY)
    assert Told(file).state.read() == MEMORY


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"format": "shedproxy-state", "sch', "no state of shedproxy, or it is damaged"),
        (b'[server]\nlisten = ":80"\n', "no state of shedproxy, or it is damaged"),
        ({"schema": 7}, "schema 7 is newer than this version understands (1)"),
        ({"cells": {"default": {"r": 3}}}, "it is damaged"),
    ],
    ids=["cut", "foreign", "newer", "damaged"],
)
async def test_what_cannot_be_used_is_said_with_the_mend_and_left_alone(tmp_path, content, why):
    file = tmp_path / "state.json"
    if isinstance(content, dict):
        content = written(file, **content)
    file.write_bytes(content)
    told = Told(file)
    assert told.state.read() == {}
    [(event, facts)] = told.events
    assert event == "state not read"
    assert facts["file"] == str(file)
    assert why in facts["why"]
    assert "remove it, or name another file" in facts["help"]
    await told.save(MEMORY)
    await told.save(NEWER)
    assert file.read_bytes() == content
    assert len(told.events) == 1, "it was said"


async def test_once_it_is_removed_states_are_kept_again(tmp_path):
    file = tmp_path / "state.json"
    file.write_text("nonsense")
    told = Told(file)
    told.state.read()
    await told.save(MEMORY)
    file.unlink()
    await told.save(MEMORY)
    assert Told(file).state.read() == MEMORY
    await told.save(NEWER)
    assert Told(file).state.read() == NEWER


async def test_what_is_no_regular_file_is_never_read_nor_replaced(tmp_path):
    """Reading a pipe would wait for ever, and a device would be gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (pipe, tmp_path):
        told = Told(name)
        assert told.state.read() == {}
        assert told.events[0][1]["why"] == "it is no regular file"
        await told.save(MEMORY)
        assert not name.is_file()


async def test_a_file_longer_than_any_state_is_not_read(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    written(file)
    monkeypatch.setattr(state_file_module, "STATE_SIZE_MAX", 10)
    told = Told(file)
    assert told.state.read() == {}
    assert "longer than 10 bytes" in told.events[0][1]["why"]


async def test_a_file_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    data = written(file)

    def refused(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    told = Told(file)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        assert told.state.read() == {}
    assert told.events[0][1]["why"] == "Permission denied"
    await told.save(NEWER)
    assert file.read_bytes() == data


# --- writing ------------------------------------------------------------------------------------


async def test_what_is_kept_is_dated_and_for_its_owner_only(tmp_path):
    file = tmp_path / "state.json"
    await Told(file).save(MEMORY)
    content = json.loads(file.read_text())
    assert content["version"] == shedproxy.__version__
    assert content["written_at"] == 1_700_000_060.0
    assert content["cells"]["default"]["default"]["mean_ns"] == 5_000_000
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["state.json"]


async def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    file, link = tmp_path / "disk" / "state.json", tmp_path / "link.json"
    link.symlink_to(file)
    await Told(link).save(MEMORY)
    assert link.is_symlink()
    assert Told(file).state.read() == MEMORY


async def test_no_news_is_not_written(tmp_path):
    file = tmp_path / "state.json"
    written(file)
    told = Told(file)
    before = file.stat().st_ino
    await told.save(told.state.read())
    await told.save({})
    await told.save({"default": {}})
    assert file.stat().st_ino == before
    await told.save(NEWER)
    assert file.stat().st_ino != before


async def test_only_what_was_selected_is_written_and_used(tmp_path):
    file = tmp_path / "state.json"

    def select(memory):
        return {cell: routes for cell, routes in memory.items() if cell == "default"}

    written(file, {**MEMORY, "gone": {"r": KNOWN}})
    told = Told(file, select=select)
    assert told.state.read() == MEMORY
    await told.save({**NEWER, "gone": {"r": KNOWN}})
    assert Told(file).state.read() == NEWER


async def test_a_failure_is_said_once_and_tried_again(tmp_path):
    folder = tmp_path / "later"
    told = Told(folder / "state.json")
    assert told.state.read() == {}
    await told.save(MEMORY)
    await told.save(NEWER)
    [(event, facts)] = told.events
    assert event == "state not kept"
    assert facts["why"] == "No such file or directory"
    assert "make its folder writable" in facts["help"]
    folder.mkdir()
    await told.save(NEWER)
    assert Told(folder / "state.json").state.read() == NEWER
    assert len(told.events) == 1


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
async def test_a_write_that_fails_leaves_the_former_state_and_nothing_else(
    tmp_path, monkeypatch, failing
):
    """As a full disk does."""
    file = tmp_path / "state.json"
    told = Told(file)
    await told.save(MEMORY)
    before = file.read_bytes()

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing, full)
        await told.save(NEWER)
    assert told.events[0][1]["why"] == "No space left on device"
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["state.json"]
    await told.save(NEWER)
    assert file.read_bytes() != before


async def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    sync = os.fsync

    def picky(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(22, "Invalid argument")
        sync(fd)

    monkeypatch.setattr(os, "fsync", picky)
    told = Told(tmp_path / "state.json")
    await told.save(MEMORY)
    assert told.events == []
    assert told.state.read() == MEMORY


async def test_it_is_written_in_each_period_until_cancelled(tmp_path):
    file = tmp_path / "state.json"
    told, memory = Told(file), dict(MEMORY)
    task = asyncio.create_task(told.state.run(lambda: memory, milliseconds(5)))
    try:
        await eventually_async(file.exists)
        memory = dict(NEWER)
        await eventually_async(lambda: Told(file).state.read() == NEWER)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_without_a_name_nothing_is_asked_or_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked: list[int] = []
    told = Told("")
    await told.state.save(lambda: asked.append(1) or MEMORY)
    assert asked == []
    assert os.listdir(tmp_path) == []


# --- what lasts ---------------------------------------------------------------------------------


def document_of(*rules: Rule) -> Document:
    return Document(
        policy=Policy(cells=(CellPolicy(name="default"), CellPolicy(name="slow"))),
        classification=Classification(rules=rules),
    )


def test_named_rules_and_the_default_last():
    document = document_of(Rule(name="search"))
    routes = {"default": KNOWN, "search": KNOWN, "renamed": KNOWN}
    memory = {"default": routes, "slow": {"search": KNOWN}, "gone": {"search": KNOWN}}
    assert lasting(memory, document, has_marks=False) == {
        "default": {"default": KNOWN, "search": KNOWN},
        "slow": {"search": KNOWN},
    }


@pytest.mark.parametrize("has_marks", [True, False])
def test_a_rule_known_by_its_place_does_not_last(has_marks):
    """The next configuration may have another rule there."""
    document = document_of(Rule(match=Match(path=("/a",))))
    found = Classifier(document.classification).classify("GET", b"/a", (), "", 0)
    memory = {"default": {found.info.route: KNOWN, "default": KNOWN}}
    assert lasting(memory, document, has_marks=has_marks) == MEMORY


def test_routes_that_the_application_names_last():
    memory = {"default": {"/items/{id}": KNOWN}}
    assert lasting(memory, document_of(), has_marks=True) == memory
    assert lasting(memory, document_of(), has_marks=False) == {"default": {}}
