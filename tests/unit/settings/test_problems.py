"""Whatever is wrong with one value is said in words, with the caret under it and a way out."""

from __future__ import annotations

import pytest

CASES = [
    # text, line, under the caret, message, note, help
    ('mode = "observed"', 1, '"observed"',
     "mode must be one of enforce, observe, off", 'did you mean "observe"?', ""),
    ('mode = "never"', 1, '"never"',
     "mode must be one of enforce, observe, off", '"never" is none of them', ""),
    ("version = 2", 1, "2", "version must be 1", "", ""),
    ('\n[server]\nworkers = "4"', 3, '"4"',
     "server.workers must be a whole number", "this is text", "without the quotes: 4"),
    ("[server]\nworkers = 1.5", 2, "1.5",
     "server.workers must be a whole number", "this is 1.5", ""),
    ("[server]\nworkers = 0", 2, "0", "server.workers must be at least 1", "0 is less", ""),
    ("[server]\nworkers = 65 # many", 2, "65",
     "server.workers must be at most 64", "65 is more", ""),
    ('[server]\npreserve_host = "yes"', 2, '"yes"',
     "server.preserve_host must be true or false", "this is text", "write true"),
    ("[server]\nlisten = 80", 2, "80",
     "server.listen must be a list", "this is 80", "in brackets: [80]"),
    ("[server]\nlisten = []", 2, "[]", "server.listen must not be empty", "", ""),
    ('[server]\nlisten = [":80", "81"]', 2, '"81"',
     'server.listen: "81" is not an address to listen on', "", 'did you mean ":81"?'),
    ('[server]\nhead_size_max = "16 KiBs"', 2, '"16 KiBs"',
     'server.head_size_max: "16 KiBs" is not a size', "",
     'expected a number and a unit (B kB MB GB KiB MiB GiB), like "16KiB"'),
    ('[server]\nhead_size_max = "1B"', 2, '"1B"',
     "server.head_size_max must be at least 1024", "1 is less", ""),
    ('[server]\ntrusted_proxies = ["10.0.0.1/8"]', 2, '"10.0.0.1/8"',
     'server.trusted_proxies: "10.0.0.1/8" is not a network', "",
     'did you mean "10.0.0.0/8"? The address has bits set beyond its prefix'),
    ('[server]\nvia = "a b"', 2, '"a b"',
     'server.via: "a b" has another form', "", "expected one word"),
    ("[server]\ntimeouts = { connect = 5 }", 2, "5",
     "server.timeouts.connect: 5 has no unit", "a duration needs a unit",
     'write "5ms" or "5s", whichever was meant'),
    ('server.timeouts.response = "10"', 1, '"10"',
     'server.timeouts.response: "10" is not a duration', "the unit is missing",
     'expected a number and a unit (ns us ms s m h d), like "250ms" or "1m30s"'),
    ('server.timeouts.client_head = "1ms"', 1, '"1ms"',
     "server.timeouts.client_head must be at least 10ms", "1ms is less", ""),
    ("[control]\nlisten = [1]", 2, "[1]", "control.listen must be text", "this is a list", ""),
    ('[control]\npaths = ["up"]', 2, '"up"',
     'control.paths: "up" has another form', "", 'expected an exact path, like "/healthz"'),
    ("[telemetry]\nservice_name = 7", 2, "7",
     "telemetry.service_name must be text", "this is 7", 'in quotes: "7"'),
    ('[telemetry]\nservice_name = ""', 2, '""',
     "telemetry.service_name must not be empty", "", ""),
    ('[cell.default]\nupstream = "localhost:80"', 2, '"localhost:80"',
     'upstream of cell "default": "localhost:80" is not an upstream', "",
     'did you mean "http://localhost:80"?'),
    ("[cell.default]\nlimit = 0", 2, "0",
     'limit of cell "default": a limit must be at least 1', "",
     "to refuse every request, use a rule with limit = 0"),
    ('[cell.a.queue]\ndeadline_share = "33%"', 2, '"33%"',
     'queue.deadline_share of cell "a" must be a number', "this is text",
     "as a share of 1: 0.33"),
    ("[cell.a.queue]\ndeadline_share = 0", 2, "0",
     'queue.deadline_share of cell "a" must be above 0', "0 is not", ""),
    ("[cell.a.queue]\ndeadline_share = nan", 2, "nan",
     'queue.deadline_share of cell "a" must be a number', "this is nan", ""),
    ("[cell.Bad]\nlimit = 1", 1, "Bad", '"Bad" cannot be a name here', "",
     "expected a to z, 0 to 9, - and _, at most 63, first no sign"),
    ("[cell.a]\nqueue = 3", 2, "3", 'queue of cell "a" must be a table', "this is 3",
     "its keys are length_max, wait_max, deadline_share, lifo_after, shards, hand"),
    ("rule = 3", 1, "3", "rule must be a list", "this is 3",
     "each rule is a table of its own, under [[rule]]"),
    ('[[rule]]\n[[rule]]\nmatch = { path = ["/a", "pay"] }', 3, '"pay"',
     'match.path of rule 2: path "pay" does not begin with a slash', "", '"/pay"'),
    ('[[rule]]\nmatch.path = "/a?b=1"', 2, '"/a?b=1"',
     'match.path of rule 1: path "/a?b=1" holds a query', "rules see the path only",
     "drop it, or tell such requests apart by a header"),
    ('[[rule]]\nmatch.header = { "a b" = "x" }', 2, '"a b"',
     '"a b" is not the name of a header', "", ""),
    ('[[rule]]\ncriticality = "criticl"', 2, '"criticl"',
     "criticality of rule 1 must be one of critical_plus, critical, sheddable_plus, sheddable",
     'did you mean "critical"?', ""),
    ('[[rule]]\nname = "' + "x" * 65 + '"', 2, '"' + "x" * 65 + '"',
     "name of rule 1 must have at most 64 characters", "these are 65", ""),
    ("[classes.limits]\nsheddable = -1", 2, "-1",
     "classes.limits.sheddable must be at least 0", "-1 is less", ""),
    # unknown keys: caret under the key
    ('colour = "blue"', 1, "colour", 'unknown key "colour"', "no such key here",
     ("known here: version, mode, server, control, classes, headers, rule, cell, cells,"
      " replacement, reject, telemetry, log, snapshot")),
    ("[servr]\nx = 1", 1, "servr", 'unknown key "servr"', 'did you mean "server"?', ""),
    ("[server]\nmax_connections = 5", 2, "max_connections",
     'unknown key "max_connections" in [server]', 'did you mean "connections_max"?', ""),
    ("[cell.a.queue]\nmax_lenght = 32", 2, "max_lenght",
     'unknown key "max_lenght" in [cell.a.queue]', 'did you mean "length_max"?', ""),
    ("[[rule]]\nclass = 1", 2, "class",
     'unknown key "class" in rule 1', 'did you mean "criticality"?', ""),
    ("[[rule]]\nexempt = true", 2, "exempt", 'unknown key "exempt" in rule 1',
     'did you mean "lane"?', 'lane = "control" takes requests past admission'),
    ('[cell.a]\nwait_max = "1s"', 2, "wait_max", 'unknown key "wait_max" in [cell.a]',
     "it belongs in [cell.NAME.queue]",
     ("known here: upstream, demand, waive, limit, queue, fairness, shed_level, spill, streams,"
      " deadline, transport, hands, retries, outliers, check, class_limits, profile")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "caret", "message", "note", "help_text"),
    CASES,
    ids=[case[3] for case in CASES],
)
def test_one_wrong_value(written, under, text, line, caret, message, note, help_text):
    problem = written.problem(text)
    assert (problem.line, under(problem)) == (line, caret)
    assert (problem.message, problem.note, problem.help) == (message, note, help_text)
    assert problem.severity == "error"
    assert problem.source == str(written.file)


def test_the_path_of_a_problem_leads_to_the_value(written):
    problem = written.problem('[[rule]]\n[[rule]]\nmatch = { path = ["/a", "pay"] }')
    assert problem.path == ("rule", "1", "match", "path", "1")
