"""Values that are valid each for itself and contradict each other are refused."""

from __future__ import annotations

import pytest

CASES = [
    # text, line, under the caret, message, note, help
    ('[cell.c.limit]\nmin = 96\nmax = 64\n[[rule]]\ncell = "c"', 3, "64",
     'cell "c": limit.max must be at least limit.min', "64 is below min = 96 (line 2)",
     "lower min or raise max"),
    ("[cell.default.limit]\nmin = 2000", 2, "2000",
     'cell "default": limit.max must be at least limit.min', "1000 is below min = 2000 (line 2)",
     "lower min or raise max"),
    ("[cell.default.limit]\nmin = 4\ninitial = 2", 3, "2",
     'cell "default": limit.initial must lie between limit.min and limit.max',
     "2 is below min = 4 (line 2)", ""),
    ("[cell.default.limit]\ninitial = 12\nmax = 10", 2, "12",
     'cell "default": limit.initial must lie between limit.min and limit.max',
     "12 is above max = 10 (line 3)", ""),
    ('[cell.default]\nlimit = { algorithm = "fixed", max = 24 }', 2, '"fixed"',
     'cell "default": a fixed limit needs its value', "", "add initial = 24"),
    ("[cell.default.queue]\nshards = 2", 2, "2",
     'cell "default": queue.hand must be at most queue.shards', "4 queues out of 2", ""),
    ('[cell.checkout]\n[[rule]]\nname = "pay"\ncell = "chekout"\n[[rule]]\ncell = "checkout"', 4,
     '"chekout"', 'rule 1 ("pay") names an unknown cell "chekout"', 'did you mean "checkout"?',
     "cells are default, checkout; [cell.chekout] would make another"),
    ('[[rule]]\ncell = "xyz"', 2, '"xyz"', 'rule 1 names an unknown cell "xyz"', "",
     "cells are default; [cell.xyz] would make another"),
    ("[cell.default]\nlimit = 4\n[[rule]]\ncost = 5", 4, "5",
     "rule 1 costs more than its cell ever has", '5 slots, cell "default" has at most 4', ""),
    ('[[rule]]\nmatch.path = "/a"\ncost = 3\nlimit = 2', 4, "2",
     'rule 1 ("/a") can never be admitted: its cost is above its limit',
     "2 is below cost = 3 (line 3)", "to refuse always, write limit = 0"),
    ('[server]\nlisten = ":1"\n[control]\nlisten = ":1"', 4, '":1"',
     '":1" is listened on twice', "as in server.listen (line 2)", ""),
    ('control.listen = "fd:3"', 1, '"fd:3"',
     "control.listen must be an address of its own", "an inherited socket cannot be named", ""),
    ('control.listen = "systemd"', 1, '"systemd"',
     "control.listen must be an address of its own",
     '"systemd" takes every socket that is handed over',
     'write "systemd:NAME" for both, with the names of their sockets'),
    ('[server]\nlisten = "systemd"\n[control]\nlisten = "systemd:c"', 4, '"systemd:c"',
     "control.listen must be an address of its own",
     '"systemd" takes every socket that is handed over',
     'write "systemd:NAME" for both, with the names of their sockets'),
    ('[server]\ntarget_size_max = "32KiB"', 2, '"32KiB"',
     "server.target_size_max must be at most server.head_size_max",
     "32768 is above 16384 bytes", ""),
    ('[reject]\nretry_after = { min = "9s" }', 2, '"9s"',
     "reject.retry_after.max must be at least min", "8s is below min = 9s", ""),
    ('[headers]\ncriticality = "Content-Length"', 2, '"Content-Length"',
     "headers.criticality cannot be content-length",
     "the field belongs to the message and would be sent twice", ""),
    ('[headers]\nattempt = ["x-a", "transfer-encoding"]', 2, '["x-a", "transfer-encoding"]',
     "headers.attempt cannot be transfer-encoding",
     "the field belongs to the message and would be sent twice", ""),
    ('[reject.headers]\n"content-length" = "0"', 2, '"content-length"',
     "reject.headers cannot set content-length", "it follows from the refusal itself", ""),
    ('[reject.headers]\n"Connection" = "close"', 1, "[reject.headers]",
     "reject.headers cannot set connection", "it follows from the refusal itself", ""),
    ('[server.tls]\ncert = "shedproxy.toml"\nkey = "shedproxy.toml"', 2, '"shedproxy.toml"',
     "server.tls: cert and key cannot be used: it is no PEM text, or of something else", "", ""),
    ('[cell.default.transport.tls]\nca = "shedproxy.toml"', 2, '"shedproxy.toml"',
     "cell.default.transport.tls.ca cannot be used: there is no certificate in it", "", ""),
    ('[server.tls]\ncert = "shedproxy.toml"', 2, '"shedproxy.toml"',
     "server.tls.cert needs key beside it", "only one of the pair is given", ""),
    ('[snapshot]\nsource = "s3://fleet/edge"\nkeys = "shedproxy.toml"', 2, '"s3://fleet/edge"',
     "snapshot.source needs snapshot.folder: a folder to keep it in", "", ""),
    ('[snapshot]\nsource = "fleet.snapshot"\nfolder = "kept"', 2, '"fleet.snapshot"',
     "snapshot.source needs snapshot.keys: public keys to believe", "",
     "make keys with: shedproxy snapshot keygen NAME"),
    ('[snapshot]\nsource = "gopher://a"', 2, '"gopher://a"',
     'snapshot.source: "gopher://a" has another form', "",
     'expected a path, or like "https://host/name", "file:///folder/name", "s3://bucket/name"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "caret", "message", "note", "help_text"),
    CASES,
    ids=[case[3] for case in CASES],
)
def test_one_contradiction(written, under, text, line, caret, message, note, help_text):
    problem = written.problem(text)
    assert (problem.message, problem.note, problem.help) == (message, note, help_text)
    assert (problem.line, under(problem)) == (line, caret)


def test_the_line_that_takes_part_is_shown_when_it_is_near(written):
    problem = written.problem("[cell.default.limit]\nmin = 96\nmax = 64")
    assert problem.excerpt == ((2, "min = 96"), (3, "max = 64"))


def test_a_file_that_is_not_there_is_named_in_full(written):
    problem = written.problem('[cell.default.transport.tls]\nca = "none.pem"')
    assert problem.message == "cell.default.transport.tls.ca: no such file"
    assert problem.help == f"looked for {written.file.parent / 'none.pem'}"


def test_a_rule_of_the_control_lane_may_cost_what_it_likes(written):
    written.load('[cell.default]\nlimit = 1\n[[rule]]\nlane = "control"\ncost = 5\n')
