"""Settings texts become signed snapshots. Only here is the private key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from shedproxy.controlplane.releases import Request, build_edition
from shedproxy.settings import load_settings
from shedproxy.snapshot import Document, Sign

__all__ = ["SnapshotMaker"]

_KEPT = 16


class SnapshotMaker:
    """Compiles and signs.

    Args:
        sign: signs with the key of the fleet.
        rehearse: tries a document as hosts will use it; raises DocumentInvalidError.
    """

    def __init__(self, sign: Sign, rehearse: Callable[[Document], None]) -> None:
        self._sign = sign
        self._rehearse = rehearse
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def compile(self, text: str, name: str) -> Document:
        """The document of a settings text.

        Args:
            text: of the file.
            name: what people call it, for what is wrong with it.

        Raises:
            DocumentInvalidError: with every problem, located.
        """
        document = self._documents.get(text)
        if document is None:
            document = load_settings(Path(name), text=text).document
            self._rehearse(document)
            self._documents[text] = document
            while len(self._documents) > _KEPT:
                self._documents.popitem(last=False)
        return document

    def make(self, request: Request, texts: Mapping[str, str]) -> bytes:
        """The snapshot of a release for hosts of one cell and zone.

        Raises:
            DocumentInvalidError: it cannot be made by this version.
        """
        document = self.compile(texts[request.cell], f"settings of {request.cell or 'all cells'}")
        return build_edition(document, request, self._sign)
