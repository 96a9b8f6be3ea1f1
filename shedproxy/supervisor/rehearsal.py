"""A document is tried here as workers will use it, so that a bad one never reaches them.

Settings refuse what they know to be wrong and show the line; this is the net below: whatever a
worker would stumble over is said before anything is started or replaced.
"""

from __future__ import annotations

from collections.abc import Callable

from shedproxy.core import Instant, Shedder
from shedproxy.dataplane.classify import Classifier
from shedproxy.dataplane.rejection import Rejections
from shedproxy.dataplane.wire.headers import header_context
from shedproxy.dataplane.wire.target import Target
from shedproxy.errors import DocumentInvalidError, Problem
from shedproxy.snapshot import Document, decode_document, encode_document

__all__ = ["rehearse"]


def rehearse(document: Document) -> None:
    """Build from a document what a worker builds of it, and throw it away.

    Raises:
        DocumentInvalidError: with every part that cannot be built.
    """
    decode_document(encode_document(document))
    problems: list[Problem] = []
    for section, build in _PARTS.items():
        try:
            build(document)
        except DocumentInvalidError as error:
            problems += error.problems
        except (ValueError, OSError) as error:
            problems.append(Problem(message=f"{section}: {error}", path=(section,)))
    if problems:
        raise DocumentInvalidError(problems)


def _classifier(document: Document) -> None:
    Classifier(document.classification, document.policy)


def _shedder(document: Document) -> None:
    Shedder(document.policy, now=Instant(0))


def _rejections(document: Document) -> None:
    Rejections(document.reject)


def _heads(document: Document) -> None:
    classification = document.classification
    header_context(
        via=document.proxy.via,
        criticality_header=classification.criticality_header,
        attempt_headers=classification.attempt_headers,
    )


def _targets(document: Document) -> None:
    for upstream in document.proxy.upstreams:
        for url in upstream.urls:
            Target(url, upstream.tls)


_PARTS: dict[str, Callable[[Document], None]] = {
    "mode": _shedder,
    "headers": _classifier,
    "reject": _rejections,
    "server": _heads,
    "cell": _targets,
}
"""By the section of the settings that has the most to do with it."""
