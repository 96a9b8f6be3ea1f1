"""`shedproxy replay` from the command line: exit codes, outputs, and what is wrong with a trace."""

from __future__ import annotations

import json

import pytest
import typer
from harness.recording import Recording
from typer.testing import CliRunner

from shedproxy.cli import replay_command
from shedproxy.errors import DocumentInvalidError, StartupError
from shedproxy.testing import a_policy


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Four requests at once, each of 10 ms."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHEDPROXY_CONFIG", raising=False)
    recording = Recording(a_policy(limit=4))
    permits = [recording.run(1) for _ in range(4)]
    for permit in permits:
        recording.release(11, permit)
    file = tmp_path / "t.jsonl"
    file.write_text("".join(recording.text()))
    (tmp_path / "strict.toml").write_text("[cell.default]\nlimit = 1\nqueue.length_max = 1\n")
    return file


def replay(*arguments: str):
    app = typer.Typer()
    app.command()(replay_command.replay)
    return CliRunner().invoke(app, list(arguments))


def test_an_identical_replay_is_said_in_two_lines(trace):
    result = replay("t.jsonl")
    assert result.exit_code == 0
    assert result.output == (
        "identical: every answer to 8 calls (4 arrivals, 0.011 s)\n"
        "  recorded by shedproxy 0.1.0; it ended: closed\n"
    )


def test_a_difference_is_exit_code_1_and_both_lines(trace):
    text = trace.read_text()
    trace.write_text(text.replace('["run",2,1,null]', '["run",2,7,null]'))
    result = replay("t.jsonl")
    assert result.exit_code == 1
    first, recorded, replayed = result.output.splitlines()
    assert first == "different: line 4, 0.001000 s after the start"
    assert recorded.endswith('["run",2,7,null]]')
    assert replayed.endswith('["run",2,1,null]]')


def test_a_difference_to_another_version_names_the_versions(trace):
    text = trace.read_text().replace('"version":"0.1.0"', '"version":"0.0.9"')
    trace.write_text(text.replace('["run",2,1,null]', '["run",2,7,null]'))
    assert "recorded by shedproxy 0.0.9; this is " in replay("t.jsonl").output


def test_json_says_the_same(trace):
    result = json.loads(replay("t.jsonl", "--json").output)
    assert result == {
        "identical": True,
        "calls": 8,
        "arrivals": 4,
        "span_ns": 11_000_000,
        "ended": "closed",
        "difference": None,
    }
    trace.write_text(trace.read_text().replace('["run",2,1,null]', '["run",2,7,null]'))
    done = replay("t.jsonl", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["difference"]["line"] == 4


def test_another_policy_gives_a_comparison(trace):
    result = replay("t.jsonl", "--policy", "strict.toml")
    assert result.exit_code == 0
    assert "served -> refused" in result.output
    assert json.loads(replay("t.jsonl", "--policy", "strict.toml", "--json").output)["changed"] == [
        {"criticality": "critical", "recorded": "served", "replayed": "refused", "count": 2}
    ]


def test_a_part_of_the_policy_for_a_part_of_the_traffic(trace):
    """Of two workers each had half of the limit."""
    text = trace.read_text().replace('"workers":1', '"workers":2')
    trace.write_text(text)
    policy = trace.with_name("two.toml")
    policy.write_text("[cell.default]\nlimit = 4\nqueue.length_max = 0\n")
    result = json.loads(replay("t.jsonl", "--policy", "two.toml", "--json").output)
    assert result["classes"]["critical"]["replayed"]["served"] == 2


@pytest.fixture
def halves(trace):
    """Of two workers, each of which had four requests as above."""
    text = trace.read_text().replace('"workers":1', '"workers":2')
    trace.with_name("w.0.jsonl").write_text(text)
    trace.with_name("w.1.jsonl").write_text(text.replace('"worker":0', '"worker":1'))


def test_traces_of_all_workers_are_verified_each(halves, trace):
    result = replay("w.0.jsonl", "w.1.jsonl")
    assert result.exit_code == 0
    assert [line.split(":")[0] for line in result.output.splitlines()[::2]] == [
        "w.0.jsonl", "w.1.jsonl",
    ]  # fmt: skip
    second = trace.with_name("w.1.jsonl")
    second.write_text(second.read_text().replace('["run",2,1,null]', '["run",2,7,null]'))
    done = replay("w.0.jsonl", "w.1.jsonl", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert found["identical"] is False
    assert [(one["file"], one["identical"]) for one in found["traces"]] == [
        ("w.0.jsonl", True), ("w.1.jsonl", False),
    ]  # fmt: skip


def test_traces_of_all_workers_are_counted_together(halves, trace):
    trace.with_name("two.toml").write_text("[cell.default]\nlimit = 4\nqueue.length_max = 0\n")
    files = ("w.0.jsonl", "w.1.jsonl")
    found = json.loads(replay(*files, "--policy", "two.toml", "--json").output)
    assert [one["worker"] for one in found["traces"]] == [0, 1]
    assert found["classes"]["critical"]["replayed"]["served"] == 4
    assert found["classes"]["critical"]["recorded"]["served"] == 8
    text = replay(*files, "--policy", "two.toml").output
    assert text.count("recorded: mode enforce") == 2
    assert "missing" not in text
    alone = replay("w.0.jsonl", "--policy", "two.toml").output
    assert "Traces of workers that are missing: 1 of 2" in alone


def test_one_replay_is_written_at_a_time(halves):
    assert replay("w.0.jsonl", "w.1.jsonl", "--write", "o.jsonl").exit_code == 2


def test_who_names_the_file_of_the_flag_is_told_those_of_the_workers(halves, trace):
    error = replay("w.jsonl").exception
    assert isinstance(error, StartupError)
    assert str(error).endswith("; there are, one of each worker: w.0.jsonl w.1.jsonl")
    assert str(replay("x.jsonl").exception).endswith("No such file or directory")


def test_the_replay_is_written_as_a_trace(trace):
    assert replay("t.jsonl", "--policy", "strict.toml", "--write", "o.jsonl").exit_code == 0
    assert replay("o.jsonl").output.startswith("identical: every answer to 5 calls (4 arrivals,")
    assert replay("t.jsonl", "--write", "same.jsonl").exit_code == 0
    assert trace.with_name("same.jsonl").read_bytes() == trace.read_bytes()


def test_a_replay_that_differs_is_not_written(trace):
    trace.write_text(trace.read_text().replace('["run",2,1,null]', '["run",2,7,null]'))
    assert replay("t.jsonl", "--write", "o.jsonl").exit_code == 1
    assert not trace.with_name("o.jsonl").exists()


def test_the_trace_itself_is_not_written_over(trace):
    before = trace.read_bytes()
    assert replay("t.jsonl", "--write", "./t.jsonl").exit_code == 2
    assert trace.read_bytes() == before


def test_an_output_that_cannot_be_written_is_said(trace):
    result = replay("t.jsonl", "--write", "gone/o.jsonl")
    assert result.exit_code == 1
    assert "cannot write gone/o.jsonl: No such file or directory" in result.stderr


def test_what_is_wrong_with_a_trace_or_policy_is_an_error_of_documents(trace):
    assert isinstance(replay("none.jsonl").exception, StartupError)
    assert isinstance(replay("strict.toml").exception, DocumentInvalidError)
    trace.with_name("bytes").write_bytes(b"\xff\x00" * 100)
    assert isinstance(replay("bytes").exception, DocumentInvalidError)
    trace.with_name("bad.toml").write_text("speed = 1\n")
    assert isinstance(replay("t.jsonl", "--policy", "bad.toml").exception, DocumentInvalidError)


def test_warnings_about_the_settings_do_not_disturb_the_output(trace):
    trace.with_name("odd.toml").write_text("[cell.default]\nlimit = 4\n[cell.spare]\n")
    result = replay("t.jsonl", "--policy", "odd.toml", "--json")
    assert "no rule sends requests to cell" in result.stderr
    assert json.loads(result.stdout)["changed"] == []
