"""A memory of answers with a bound."""

from __future__ import annotations

from shedproxy.dataplane.recent import Marks, Recent


def test_an_answer_is_computed_once():
    asked = []
    recent = Recent(lambda key: asked.append(key) or key * 2)
    assert [recent[4], recent[4]] == [8, 8]
    assert asked == [4]


def test_the_bound_holds_and_what_is_used_stays():
    asked = []
    recent = Recent(lambda key: asked.append(key) or str(key))
    for key in range(10_000):
        assert recent[key] == str(key)
        assert recent["hot"] == "hot"
        assert len(recent) <= 1024
    assert asked.count("hot") == 1


def test_a_wary_one_remembers_what_is_asked_again():
    asked = []
    recent = Recent(lambda key: asked.append(key) or str(key), is_wary=True)
    for key in range(3000):
        assert recent[key + 1] == str(key + 1)
    assert not recent
    assert [recent["hot"] for _ in range(5)] == ["hot"] * 5
    assert asked.count("hot") == 2


def test_a_mark_tells_what_came_before_and_keeps_nothing_of_it():
    marks = Marks()
    key = b"a name that nobody else holds"
    assert not marks.knows(key)
    assert marks.knows(bytes(bytearray(key)))
    assert [marks.knows(n) for n in range(1, 10_000)].count(True) == 0
