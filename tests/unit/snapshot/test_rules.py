"""Rules cannot be dodged by spelling, cost linear time, and shadowed ones are found."""

from __future__ import annotations

import fnmatch
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.snapshot import (
    UNDECIDED,
    Match,
    Rule,
    RuleTable,
    normalise_path,
    path_readings,
    unreachable,
)
from shedproxy.snapshot.rules import path_segments


def no_header(name):
    return None


def table(*matches, **kwargs):
    return RuleTable([Rule(match=match) for match in matches], **kwargs)


def takes(pattern, path):
    return table(Match(path=(pattern,))).match("GET", path, "", no_header) == 0


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"", "/"),
        (b"/a/b", "/a/b"),
        (b"/A/b", "/A/b"),
        (b"/a/", "/a"),
        (b"//a///b", "/a/b"),
        (b"/a/./b/.", "/a/b"),
        (b"/x/../a", "/a"),
        (b"/../../a", "/a"),
        (b"/x/%2e%2E/a", "/a"),
        (b"/x%2fa", "/x/a"),
        (b"/a;v=1/b;c", "/a/b"),
        (b"/a%3Bv/b", "/a/b"),
        (b"/x/..;/a", "/a"),
        (b"/;x/a", "/a"),
        (b"/x\\a", "/x/a"),
        (b"/x%5C..\\a", "/a"),
        (b"/a?x=/b", "/a"),
        (b"/a#/b", "/a"),
        (b"/a%3Fx", "/a?x"),
        (b"/%252e%252e/a", "/%2e%2e/a"),
        (b"/%zz%4", "/%zz%4"),
        (b"*", "*"),
        (b"http://other.example/x/../a", "/a"),
        (b"http://other.example", "/"),
        (b"a", "/a"),
        (b"/.well-known/x", "/.well-known/x"),
        ("/gr\u00fc\u00df".encode(), "/gr\u00fc\u00df"),
        (b"/gr%C3%BC%C3%9F", "/gr\u00fc\u00df"),
        (b"/\xff", "/\udcff"),
        (b"/%FF", "/\udcff"),
    ],
)
def test_every_spelling_of_a_path_becomes_one(raw, path):
    assert normalise_path(raw) == path


@pytest.mark.parametrize(
    ("raw", "readings"),
    [
        (b"/a/b", ("/a/b",)),
        (b"/a/./b//", ("/a/b",)),
        (b"/gr%C3%BC%C3%9F", ("/gr\u00fc\u00df",)),
        (b"/a..b/c", ("/a..b/c",)),
        (b"/x/../a", ("/a", "/x/../a")),
        (b"/x/%2e%2e;y/a", ("/a", "/x/../a")),
        (b"/x%2F%2e%2e;y/a", ("/a", "/x/../a", "/x\udcff../a")),
        (b"/x\\..\\a", ("/a", "/x/../a", "/x\udcff..\udcffa")),
        (b"/x%5cy", ("/x/y", "/x\udcffy")),
    ],
)
def test_dots_that_may_or_may_not_be_resolved_give_a_path_two_readings(raw, readings):
    assert path_readings(raw) == readings


@given(st.binary(max_size=40))
def test_normalising_never_fails_and_leaves_nothing_to_resolve(raw):
    path = normalise_path(raw)
    assert path == "*" or path.startswith("/")
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("/a", ["/a", "/A"], ["/", "/a/b", "/ab"]),
        ("/a/", ["/a"], ["/a/b"]),
        ("/", ["/"], ["/a"]),
        ("/a/*", ["/a/b"], ["/a", "/a/b/c"]),
        ("/a/**", ["/a", "/a/b", "/a/b/c"], ["/ab", "/b/a"]),
        ("/**", ["/", "/a", "/a/b"], ["*"]),
        ("**", ["/", "/a/b"], []),
        ("/**/z", ["/z", "/a/z", "/a/b/z"], ["/z/a", "/az"]),
        ("/**/a/**/b", ["/a/b", "/x/a/y/z/b", "/a/a/b/b"], ["/b/a", "/a/bb", "/xa/b"]),
        ("/v*/users", ["/v1/users", "/v/users"], ["/v1/x/users", "/users"]),
        ("/*.json", ["/a.json", "/.json"], ["/a.js", "/a/b.json"]),
        ("/*a*b*", ["/xaxbx", "/ab"], ["/ba"]),
        ("/users/{id}", ["/users/7"], ["/users", "/users/7/x"]),
        ("/files/{path:path}", ["/files", "/files/a/b"], ["/file"]),
        ("/x-{id}.json", ["/x-7.json"], ["/x-7.js"]),
        ("*", ["*", "/", "/a"], ["/a/b"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/a**b", ["/axb"], ["/a/b"]),
    ],
)
def test_patterns_of_paths(pattern, yes, no):
    assert [path for path in yes if not takes(pattern, path)] == []
    assert [path for path in no if takes(pattern, path)] == []


def reference_match(pattern, path):
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(reference_match(pattern[1:], path[i:]) for i in range(len(path) + 1))
    return (
        bool(path)
        and fnmatch.fnmatchcase(path[0], pattern[0])
        and reference_match(pattern[1:], path[1:])
    )


SEGMENTS = st.sampled_from(["**", "*", "a", "b", "a*", "*b", "*a*b*", "ab"])
PATTERNS = st.lists(SEGMENTS, max_size=5).map(lambda parts: "/" + "/".join(parts))
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab"]), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)


@given(PATTERNS, PATHS)
def test_the_compiled_pattern_agrees_with_the_definition(pattern, path):
    parts = [part for part in path.split("/") if part]
    assert takes(pattern, path) == reference_match(path_segments(pattern), parts)


def test_no_path_is_slow_to_refuse():
    rules = table(Match(path=("/**/a*a*a*a*b/**/a*a*b/**/a/**/c",)))
    for path in ("/a" * 4000, "/" + "a" * 8000, "/aaaab" * 1300):
        assert rules.match("GET", path, "", no_header) == -1


def test_the_first_rule_that_matches_wins():
    rules = table(Match(path=("/a/b",)), Match(path=("/a/**",)), Match())
    assert [rules.match("GET", path, "", no_header) for path in ("/a/b", "/a", "/x")] == [0, 1, 2]


def test_no_rule_is_minus_one():
    assert table(Match(path=("/a",))).match("GET", "/b", "", no_header) == -1


def test_methods_are_compared_exactly_and_get_takes_head():
    rules = table(Match(method=("get",)), Match(method=("POST",)))
    answers = [
        rules.match(method, "/", "", no_header) for method in ("GET", "HEAD", "POST", "post")
    ]
    assert answers == [0, 0, 1, -1]


@pytest.mark.parametrize(
    ("host", "index"),
    [
        ("api.example.com", 0),
        ("API.Example.com:8080", 0),
        ("example.com.", 1),
        ("[::1]:80", 2),
        ("other", -1),
    ],
)
def test_hosts_are_compared_without_port_and_case(host, index):
    rules = table(
        Match(host=("*.example.com",)), Match(host=("example.com",)), Match(host=("::1",))
    )
    assert rules.match("GET", "/", host, no_header) == index


def test_headers_are_globs_and_a_star_means_present():
    rules = table(
        Match(header=(("X-Client", "batch-*"), ("x-size", "*"))), Match(header=(("x-client", "*"),))
    )
    sent = {"x-client": "Batch-7", "x-size": ""}
    assert rules.match("GET", "/", "", sent.get) == 0
    assert rules.match("GET", "/", "", {"x-client": "web"}.get) == 1
    assert rules.match("GET", "/", "", {}.get) == -1
    assert rules.header_names == {"x-client", "x-size"}


def test_all_parts_must_match():
    rules = table(Match(path=("/a",), method=("POST",), host=("h",), header=(("k", "v"),)))
    ask = {"method": "POST", "path": "/a", "host": "h", "header": {"k": "v"}.get}
    assert rules.match(**ask) == 0
    for other in ({"method": "GET"}, {"path": "/b"}, {"host": "i"}, {"header": {}.get}):
        assert rules.match(**{**ask, **other}) == -1


def test_candidates_end_with_the_first_rule_that_reads_no_header():
    rules = table(
        Match(path=("/a",), header=(("k", "v"),)), Match(path=("/b",)), Match(), Match(path=("/a",))
    )
    found = rules.candidates("GET", "/a")
    assert found == (0, 2)
    assert rules.needs_more(found)
    assert rules.choose(found, "", {"k": "v"}.get) == 0
    assert rules.choose(found, "", no_header) == 2
    assert rules.candidates("GET", "/b") == (1,)
    assert not rules.needs_more((1,))
    assert not rules.needs_more(())
    assert rules.choose((), "", no_header) == -1


def test_a_rule_is_settled_when_nothing_before_it_reads_a_header():
    rules = table(
        Match(path=("/a",), header=(("k", "v"),)), Match(path=("/b",)), Match(path=("/a", "/c"))
    )
    assert rules.settled("GET", "/a") == UNDECIDED
    assert [rules.settled("GET", path) for path in ("/b", "/c", "/d")] == [1, 2, -1]


@pytest.mark.parametrize("pattern", ["/**", "**"])
@pytest.mark.parametrize("path", ["/", "/a", "/a/b", "/\udcff\n"])
def test_the_pattern_of_every_path_takes_every_path(pattern, path):
    assert takes(pattern, path)
    assert table(Match(path=("/other", pattern))).match("GET", path, "", no_header) == 0
    assert not takes(pattern, "*")
    assert table(Match(path=("*", pattern))).match("OPTIONS", "*", "", no_header) == 0


def test_a_table_knows_whether_paths_and_methods_matter():
    blind = table(Match(path=("/**",)), Match(method=("get",)), Match(host=("a",)))
    assert not blind.reads_paths
    assert blind.methods == {"GET", "HEAD"}
    assert table(Match(), Match(path=("/a", "/b"))).reads_paths
    assert not table(Match()).methods


def test_a_table_knows_whether_hosts_matter():
    assert table(Match(host=("a",))).needs_host
    assert not table(Match(path=("/a",))).needs_host


@given(st.lists(PATTERNS, max_size=4), PATHS, st.booleans())
def test_choosing_among_candidates_is_matching(patterns, path, sent):
    rules = table(
        *(Match(path=(p,), header=(("k", "*"),) * (i % 2)) for i, p in enumerate(patterns))
    )
    header = {"k": "1"}.get if sent else no_header
    found = rules.candidates("GET", path)
    assert rules.choose(found, "", header) == rules.match("GET", path, "", header)


@pytest.mark.parametrize(
    ("method", "raw", "answer"),
    [
        ("GET", b"/livez", True),
        ("HEAD", b"/healthz", True),
        ("POST", b"/livez", False),
        ("GET", b"/livez/", False),
        ("GET", b"/healthz/../api", False),
        ("GET", b"/livez?x", False),
        ("GET", b"//livez", False),
        ("GET", b"/LIVEZ", False),
    ],
)
def test_control_routes_are_exact(method, raw, answer):
    assert table().is_control(method, raw) is answer


def test_control_routes_are_configurable():
    rules = table(control_paths=["/up"])
    assert rules.is_control("GET", b"/up")
    assert not rules.is_control("GET", b"/livez")


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (Match(), Match(path=("/a",))),
        (Match(path=("/a/**",)), Match(path=("/a",))),
        (Match(path=("/a/**",)), Match(path=("/A/b/*",))),
        (Match(path=("/a/**",)), Match(path=("/a/**",), method=("GET",))),
        (Match(path=("/*",)), Match(path=("/{id}",))),
        (Match(path=("/v*/x",)), Match(path=("/v2/x",))),
        (Match(path=("/**/z",)), Match(path=("/a/**/z",))),
        (Match(path=("/a", "/b")), Match(path=("/b", "/a"))),
        (Match(method=("GET", "POST")), Match(method=("HEAD",))),
        (Match(host=("*.x.com",)), Match(host=("a.x.com",))),
        (Match(header=(("k", "*"),)), Match(header=(("K", "v*"), ("z", "1")))),
    ],
)
def test_a_shadowed_rule_is_found(earlier, later):
    assert unreachable([Rule(match=earlier), Rule(match=later)]) == [(1, 0)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (Match(path=("/a",)), Match()),
        (Match(path=("/a/*",)), Match(path=("/a/**",))),
        (Match(path=("/a/*",)), Match(path=("/a",))),
        (Match(path=("/v*/x",)), Match(path=("/*/x",))),
        (Match(path=("/a",)), Match(path=("/a", "/b"))),
        (Match(method=("HEAD",)), Match(method=("GET",))),
        (Match(method=("GET",)), Match()),
        (Match(host=("a",)), Match()),
        (Match(host=("a*",)), Match(host=("*",))),
        (Match(header=(("k", "v"),)), Match(header=(("k", "*"),))),
        (Match(header=(("k", "v"),)), Match()),
        (Match(path=("*",)), Match(path=("/**",))),
    ],
)
def test_a_reachable_rule_is_left_alone(earlier, later):
    assert unreachable([Rule(match=earlier), Rule(match=later)]) == []


SMALL = [
    "/" + "/".join(parts)
    for n in range(5)
    for parts in itertools.product(["a", "b", "ab"], repeat=n)
]


@given(PATTERNS, PATTERNS)
def test_no_rule_called_unreachable_takes_anything_of_its_own(earlier, later):
    if unreachable([Rule(match=Match(path=(earlier,))), Rule(match=Match(path=(later,)))]):
        wide, narrow = table(Match(path=(earlier,))), table(Match(path=(later,)))
        for path in SMALL:
            if narrow.match("GET", path, "", no_header) == 0:
                assert wide.match("GET", path, "", no_header) == 0
