"""One meaning per number, and the documentation knows all of them."""

from __future__ import annotations

import re
from pathlib import Path

from shedproxy.cli import exit_codes

README = Path(__file__).resolve().parents[3] / "README.md"


def test_no_two_of_them_are_one_number():
    codes = [getattr(exit_codes, name) for name in exit_codes.__all__]
    assert len({*codes}) == len(codes)
    assert 0 not in codes


def test_readme_says_what_each_of_them_means():
    [told] = re.findall(r"Exit codes of all commands: (.*?)\. ", README.read_text(), re.DOTALL)
    numbers = {int(number) for number in re.findall(r"(\d+) \w", told)}
    assert numbers == {0, *(getattr(exit_codes, name) for name in exit_codes.__all__)}
