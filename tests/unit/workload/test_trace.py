"""A trace is read back as what was written, or refused with the line that is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from harness.recording import START, Recording

from shedproxy.core import (
    Instant,
    Mode,
    Outcome,
    Policy,
    RejectReason,
    Remembered,
    RequestInfo,
    milliseconds,
)
from shedproxy.errors import DocumentInvalidError
from shedproxy.testing import a_policy
from shedproxy.workload.trace import Answer, TraceHeader, TraceReader, encode_end, encode_header

HEADER = TraceHeader(policy=Policy(), started_at=Instant(7), version="0.1.0", worker=1, workers=2)
HEAD = encode_header(HEADER) + "\n"
REQUEST = '["request",{"route":"a"}]\n'
RUN = '["arrive",5,0,0,0,null,["run",1,0,null]]\n'
END = '["end",9,"closed"]\n'
MEMORY = {"default": {"a": Remembered(5, 10, 2.5)}}


def problem_of(*lines: str):
    with pytest.raises(DocumentInvalidError) as caught:
        list(TraceReader(lines, source="t.jsonl"))
    (problem,) = caught.value.problems
    assert problem.source == "t.jsonl"
    return problem


def calls_of(*lines: str):
    return list(TraceReader([HEAD, *lines, END]))


def test_the_header_travels_whole_but_for_the_salt():
    policy = replace(a_policy(limit=3, mode=Mode.OBSERVE), salt=12345)
    text = encode_header(replace(HEADER, policy=policy))
    assert "12345" not in text
    assert "\n" not in text
    header = TraceReader([text + "\n"]).header
    assert header == replace(HEADER, policy=replace(policy, salt=0))


def test_every_kind_of_record_is_read_as_what_was_told():
    recording = Recording(a_policy(limit=1))
    recording.screen(1, flow_hash=9, cohort=3, time_left_ns=50)
    running = recording.run(2, RequestInfo(route="b"), flow_hash=9, cohort=3, time_left_ns=50)
    recording.wait(3)
    gone = recording.wait(3)
    recording.shedder.respond(running, now=recording.now(4))
    recording.shedder.to_resident(running, now=recording.now(5))
    recording.shedder.abandon(gone, now=recording.now(6))
    recording.shedder.tick(now=recording.now(7))
    recording.shedder.on_stall(now=recording.now(8))
    recording.release(9, running, Outcome.IGNORE, stalled_ns=11)
    recording.shedder.apply(a_policy(limit=2), now=recording.now(10))
    recording.shedder.drain()
    recording.shedder.remember(MEMORY)
    screen, arrive, _, _, stream, abandon, tick, stall, release, apply, drain, remember, end = (
        recording.reader()
    )
    assert [call.line for call in (screen, arrive)] == [3, 5], "behind header and descriptions"
    assert (screen.name, screen.request.route, screen.answer) == ("screen", "default", None)
    assert (arrive.name, arrive.at, arrive.request.route) == (
        "arrive",
        START + milliseconds(2),
        "b",
    )
    assert (arrive.flow_hash, arrive.cohort, arrive.time_left_ns) == (9, 3, 50)
    assert (arrive.arrival, arrive.answer) == (0, Answer("run"))
    assert (stream.name, stream.arrival, stream.head_age_ns) == ("stream", 0, milliseconds(1))
    assert stream.verdicts == ((1, Answer("run")),)
    assert (abandon.name, abandon.arrival) == ("abandon", 2)
    assert (tick.name, stall.name, drain.name) == ("tick", "stall", "drain")
    assert (release.name, release.outcome, release.stalled_ns) == ("release", Outcome.IGNORE, 11)
    assert (apply.name, apply.policy) == ("apply", a_policy(limit=2))
    assert (remember.name, remember.memory) == ("remember", MEMORY)
    assert (end.name, end.why) == ("end", "closed")


def test_answers_are_read_with_their_reasons():
    recording = Recording(a_policy(limit=1, queue_length=1))
    recording.run(1)
    recording.wait(2, RequestInfo(is_retry=True))
    recording.wait(3)
    recording.arrive(4, RequestInfo(is_retry=True))
    _, _, evicting, refused, _ = recording.reader()
    assert evicting.answer == Answer("wait", None, 0, ((1, Answer("no", RejectReason.EVICTED)),))
    assert refused.answer == Answer("no", RejectReason.QUEUE_FULL)


def test_a_permit_of_observe_mode_says_what_it_hides():
    recording = Recording(a_policy(limit=1, queue_length=0, mode=Mode.OBSERVE))
    recording.run(1)
    recording.run(2)
    hidden = list(recording.reader())[1]
    assert hidden.answer == Answer("run", RejectReason.QUEUE_FULL, 1)


@pytest.mark.parametrize("line", ["", "hello\n", "[1,2]\n", '{"format":"shedproxy-document"}\n'])
def test_what_is_no_trace_is_told_how_to_get_one(line):
    problem = problem_of(line)
    assert problem.line == 1
    assert "--record" in problem.help


def test_a_newer_schema_is_refused_whole():
    value = json.loads(HEAD)
    value["schema"] = 2
    problem = problem_of(json.dumps(value) + "\n")
    assert "newer" in problem.message


@pytest.mark.parametrize(
    "change",
    [{"policy": None}, {"policy": {"mode": "loud"}}, {"started_at": -1}, {"workers": 1}],
)
def test_a_damaged_header_is_said_to_be(change):
    problem = problem_of(json.dumps({**json.loads(HEAD), **change}) + "\n")
    assert "header is damaged" in problem.message


def test_fields_of_a_later_version_with_the_same_schema_are_ignored():
    text = json.dumps({**json.loads(HEAD), "colour": "red"}) + "\n"
    assert TraceReader([text]).header == HEADER


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense\n", "Expecting value"),
        ("7\n", "no record"),
        ("[]\n", "no record"),
        ("[[1]]\n", "no record"),
        ('["dance",5]\n', "'dance'"),
        ('["tick",5]\n', "2 items belong behind 'tick', not 1"),
        ('["tick",-5,[]]\n', "expected a number from 0, found -5"),
        ('["tick",5.5,[]]\n', "found 5.5"),
        ('["tick",true,[]]\n', "found True"),
        ('["tick",3,[[0]]]\n', "list of verdicts"),
        ('["tick",5,{}]\n', "list of verdicts"),
        ('["arrive",5,1,0,0,null,["run",1,0,null]]\n', "describes request 1"),
        ('["arrive",5,0,0,0,"soon",["run",1,0,null]]\n', "whole number or null"),
        ('["arrive",5,0,0,0,null,["run"]]\n', "no answer"),
        ('["arrive",5,0,0,0,null,["no","mood",[],0,0,0,0,0]]\n', "no answer"),
        ('["arrive",5,0,0,0,null,"yes"]\n', "no answer"),
        ('["release",5,0,null,"success",0,[]]\n', "no arrival 0 yet"),
        ('["release",5,0,null,"triumph",0,[]]\n', "'triumph' is no outcome"),
        ('["release",5,0,null,7,0,[]]\n', "expected a word"),
        ('["request",{"cost":0}]\n', "costs 1 or more"),
        ('["request",{"criticality":"vital"}]\n', "criticality"),
        ('["apply",5,{"mode":"loud"},[]]\n', "mode"),
        (f"{'[' * 100_000}\n", "recursion"),
    ],
)
def test_a_damaged_line_is_shown_with_its_number(line, told):
    problem = problem_of(HEAD, REQUEST, line, END)
    assert problem.line == 3
    assert told in problem.message
    assert problem.excerpt == ((3, line.rstrip("\n")),)


def test_time_does_not_run_backwards():
    assert "before that" in problem_of(HEAD, '["tick",5,[]]\n', '["tick",4,[]]\n', END).message


@pytest.mark.parametrize(
    ("lines", "whole"),
    [((HEAD, REQUEST, RUN), 3), ((HEAD, REQUEST, RUN, '["tick",7,'), 3), ((HEAD,), 1)],
)
def test_a_cut_trace_is_refused_and_the_help_mends_it(lines, whole):
    problem = problem_of(*lines)
    assert "cut" in problem.message
    assert f"head -n {whole} " in problem.help
    end = problem.help.partition("'")[2].partition("'")[0]
    *_, last = TraceReader([*lines[:whole], f"{end}\n"])
    assert last.why == "cut"


def test_nothing_may_follow_the_last_record():
    assert problem_of(HEAD, END, '["tick",9,[]]\n').line == 3


def test_equal_descriptions_are_equal_requests():
    first, second, _ = calls_of(REQUEST, RUN, RUN)
    assert first.request is second.request
    assert (first.arrival, second.arrival) == (0, 1)


def test_the_end_says_why():
    assert encode_end(5, "closed") == '["end",5,"closed"]'
