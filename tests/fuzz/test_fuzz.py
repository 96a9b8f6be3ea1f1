"""The kept corpus on both targets, half a minute of fresh fuzzing, and proof that they can fail."""

from __future__ import annotations

import pytest
from fuzz import corpus, engine, messages
from fuzz.targets import TARGETS

from shedproxy.dataplane.wire import body, exchange, framing
from shedproxy.dataplane.wire.accounting import Accounting
from shedproxy.dataplane.wire.client_end import ClientEnd
from shedproxy.dataplane.wire.upload import Expectation, Upload
from shedproxy.dataplane.wire.upstream_side import UpstreamConnection

CORPUS_BYTES_MAX = 1 << 20


@pytest.mark.parametrize("target", TARGETS)
def test_the_kept_corpus_finds_nothing(target) -> None:
    entries = corpus.load(target)
    assert len(entries) > 100
    for entry in entries:
        failure = engine.failure_of(target, entry)
        assert not failure, "\n".join([failure, *corpus.describe(target, entry)])


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_small_and_its_text_says_what_it_is(target) -> None:
    assert sum(path.stat().st_size for path in corpus.HOME.iterdir()) < CORPUS_BYTES_MAX
    for entry in corpus.load(target):
        again = corpus.parse(target, corpus.describe(target, entry))
        assert corpus.describe(target, again) == corpus.describe(target, entry)


def test_fresh_fuzzing_finds_nothing(fresh_fuzzing) -> None:
    """Both targets, from the kept corpus on, half a minute each."""
    for code, text in fresh_fuzzing:
        assert code == 0, text
        assert " 0 crashes" in text


# --- what the instruments would find ------------------------------------------------------------


def failures(target: str) -> set[str]:
    found = {engine.failure_of(target, entry) for entry in corpus.load(target)}
    return {engine.kind_of(failure) for failure in found if failure}


def test_messages_sees_a_host_that_means_two_things(monkeypatch) -> None:
    monkeypatch.setattr(framing, "is_authority", lambda text: True)
    assert "DifferenceError: the model has no such message" in failures("messages")


def test_messages_sees_a_reader_that_depends_on_how_bytes_come(monkeypatch) -> None:
    feed = body.BodyReader.feed

    def lossy(self, data):
        return feed(self, data) if len(data) != 1 else feed(self, data)[1:]

    monkeypatch.setattr(body.BodyReader, "feed", lossy)
    assert "DifferenceError: splits: body" in failures("messages")


def test_messages_sees_a_field_that_ends_at_this_hop_go_through(monkeypatch) -> None:
    monkeypatch.setitem(messages.CONTEXT.actions, b"keep-alive", 0)
    assert "DifferenceError: hop-by-hop field goes through" in failures("messages")


def test_exchange_sees_a_permit_that_is_not_given_back(monkeypatch) -> None:
    monkeypatch.setattr(Accounting, "leave", lambda self, *_: setattr(self, "permit", None))
    assert "DifferenceError: in flight, queue, residents, zombies" in failures("exchange")


def test_exchange_sees_a_connection_used_again_too_early(monkeypatch) -> None:
    detach = UpstreamConnection._detach
    monkeypatch.setattr(
        UpstreamConnection, "_detach", lambda self, *, reusable: detach(self, reusable=True)
    )
    assert failures("exchange")


def test_exchange_sees_a_cut_that_looks_like_the_end(monkeypatch) -> None:
    cut = ClientEnd.cut
    monkeypatch.setattr(ClientEnd, "cut", lambda self, *, reset=False: cut(self))
    assert "DifferenceError: a cut answer is passed on as whole" in failures("exchange")


def test_exchange_sees_a_last_chunk_that_was_not_there(monkeypatch) -> None:
    monkeypatch.setattr(exchange, "encode_chunk", lambda piece: framing.encode_chunk(piece) * 2)
    assert "DifferenceError: answer body" in failures("exchange")


@pytest.mark.parametrize(
    ("owner", "name", "broken", "why"),
    [
        (Upload, "is_for_upstream_to_ask", lambda self: True, "or of a small body"),
        (Upload, "is_for_upstream_to_ask", lambda self: False, "before an upstream has the head"),
        (Expectation, "continue_at", lambda self: 1, "before the upstream said so"),
        (Expectation, "continue_at", lambda self: 0, "waits for ever"),
    ],
)
def test_exchange_sees_who_is_asked_for_a_body(monkeypatch, owner, name, broken, why) -> None:
    monkeypatch.setattr(owner, name, property(broken, lambda self, value: None))
    assert any(why in failure for failure in failures("exchange"))


def test_a_failure_is_made_small_and_can_be_replayed(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(framing, "is_authority", lambda text: True)
    filler = b"".join(b"X-%d: y\r\n" % number for number in range(9))
    head = b"POST /abc HTTP/1.1\r\nHost: a b\r\n" + filler + b"Content-Length: 5\r\n\r\n"
    small = engine.minimise("messages", b"r1" + head + b"hello", seconds=5)
    assert len(small) < 60
    path = tmp_path / "one.txt"
    lines = list(engine.reproduction("messages", small, path))
    assert lines[-1] == f"replay: python -m tests.fuzz messages --replay {path}"
    assert corpus.read("messages", path.read_text()) == [small]


def test_without_libfuzzer_the_corpus_is_changed_at_random(monkeypatch) -> None:
    monkeypatch.setattr(engine, "has_atheris", lambda: False)
    report = engine.fuzz("messages", 1, seed=3)
    assert report.executions > 100
    assert not report.crashes
    assert "plain mutation (no atheris), seed 3" in report.lines("messages")[0]
