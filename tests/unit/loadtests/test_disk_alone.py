"""What counts as back: soon, as much as before, and nothing lost."""

from __future__ import annotations

from dataclasses import replace

from loadtests.disk_alone import Return, verdict

BACK = Return(served_after_s=1.2, before_rps=300.0, after_rps=298.0, lost=0)


def test_a_host_that_is_back_as_before_is_no_fault():
    assert verdict([BACK, BACK]) == []


def test_each_way_of_not_being_back_is_told_with_the_number_of_the_host():
    late, slow, lossy = (
        replace(BACK, served_after_s=2.0),
        replace(BACK, after_rps=200.0),
        replace(BACK, lost=1),
    )
    assert verdict([late]) == ["host 1 served after 2.00 s"]
    assert verdict([BACK, slow, lossy]) == [
        "host 2 served less than before",
        "host 3 served less than before",
    ]
