"""Settings written as text: what is refused, where the carets are."""

from __future__ import annotations

import pytest
import trustme

from shedproxy.errors import ConfigInvalidError
from shedproxy.settings import load_settings


class Written:
    """A settings file in a folder of its own."""

    def __init__(self, folder):
        self.file = folder / "shedproxy.toml"

    def load(self, text, **kwargs):
        self.file.write_text(text, encoding="utf-8")
        return load_settings(self.file, **kwargs)

    def problems(self, text, **kwargs):
        with pytest.raises(ConfigInvalidError) as caught:
            self.load(text, **kwargs)
        return caught.value.problems

    def problem(self, text, **kwargs):
        (problem,) = self.problems(text, **kwargs)
        return problem

    def warnings(self, text, **kwargs):
        return [p for p in self.load(text, **kwargs).warnings if p.severity == "warning"]


@pytest.fixture
def written(tmp_path):
    return Written(tmp_path)


@pytest.fixture
def under():
    """The text under the caret of a problem."""

    def read(problem):
        line = problem.excerpt[-1][1]
        return line[problem.column - 1 : problem.column - 1 + problem.length]

    return read


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def own_certificate(tmp_path, authority):
    """`own.pem` beside the settings file: a certificate and its key."""
    file = tmp_path / "own.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    return file
