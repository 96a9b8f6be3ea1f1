"""Settings texts become signed snapshots. Only here is the private key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from shedproxy.controlplane.releases import Request, build_edition
from shedproxy.controlplane.tenants import Placing
from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.settings import Loaded, load_settings, most_rps, placed_rps
from shedproxy.snapshot import Document, Sign, says_nothing

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
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def compile(self, text: str, name: str) -> Document:
        """The document of a settings text.

        Args:
            text: of the file.
            name: what people call it, for what is wrong with it.

        Raises:
            DocumentInvalidError: with every problem, located.
        """
        return self._load(text, name).document

    def placing(self, text: str, name: str) -> Placing:
        """What a settings text says of keys and of the cells that they may be in.

        Raises:
            DocumentInvalidError: with every problem, located.
        """
        loaded = self._load(text, name)
        document, settings = loaded.document, loaded.settings
        classification, cells = document.classification, document.classification.cells
        return Placing(
            routing=cells,
            cells=frozenset(cell.name for cell in document.policy.cells),
            most_rps=most_rps(settings),
            placed_rps=placed_rps(settings),
            upstreams=frozenset(
                (url, zone)
                for each in document.proxy.upstreams
                for url, zone in zip(each.urls, each.zones or ("",) * len(each.urls), strict=True)
            ),
            is_believed=not cells.key.startswith("header:") or bool(classification.trusted_peers),
        )

    def _load(self, text: str, name: str) -> Loaded:
        loaded = self._loaded.get(text)
        if loaded is None:
            loaded = load_settings(Path(name), text=text)
            if says_nothing(loaded.document):
                raise ConfigInvalidError([_empty(name)])
            self._rehearse(loaded.document)
            self._loaded[text] = loaded
            while len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
        return loaded

    def make(self, request: Request, texts: Mapping[str, str]) -> bytes:
        """The snapshot of a release for hosts of one cell and zone.

        Raises:
            DocumentInvalidError: it cannot be made by this version.
        """
        document = self.compile(texts[request.cell], f"settings of {request.cell or 'all cells'}")
        return build_edition(document, request, self._sign)


def _empty(name: str) -> Problem:
    return Problem(
        message="the settings say nothing of the policy: hosts refuse that as empty",
        source=name,
        help="name upstreams, or anything that is not the default",
    )
