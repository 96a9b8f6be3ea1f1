"""How hosts are judged, checked and replaced, as people write it."""

from __future__ import annotations

import pytest

from shedproxy.errors import ConfigInvalidError
from shedproxy.settings.outliers import CheckSettings, OutlierSettings, ReplacementSettings


def test_hosts_are_judged_by_default_and_nobody_is_asked_or_checked():
    assert OutlierSettings().enabled
    assert CheckSettings().path == ""
    assert (ReplacementSettings().url, ReplacementSettings().command) == ("", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[replacement]\nurl = "ftp://h/x"', '"ftp://h/x" is no URL to post to'),
        ('[cell.a.check]\npath = "healthz"', "check.path of cell"),
        ("[cell.a.check]\nstatus = []", "check.status"),
        ("[cell.a.check]\nstatus = [99]", "check.status"),
        ("[cell.a.outliers]\nshare = 0", "outliers.share of cell"),
        ('[cell.a.outliers]\nwindow = "10ms"', "outliers.window of cell"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(written, text, message):
    with pytest.raises(ConfigInvalidError) as refused:
        written.load(text)
    (problem,) = refused.value.problems
    assert message in problem.message
    assert problem.line == 2
