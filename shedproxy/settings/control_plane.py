"""The file of a control plane: where the fleet is kept, who may change it, how careful it is."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError

from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.settings.file_layer import FileLayer, read_file
from shedproxy.settings.problems import at_path, path_of, translate
from shedproxy.settings.quantities import Duration, at_least, invalid, split_address
from shedproxy.settings.section import Section, form, preset
from shedproxy.settings.shape import nearest

__all__ = [
    "ControlPlaneSettings",
    "MoveSettings",
    "PromotionSettings",
    "Role",
    "TokenSettings",
    "load_control_plane",
    "plane_address",
]

Role = Literal["reader", "publisher", "operator"]
"""Who may look, who may publish besides, and who may do everything."""


_ADDRESS = 'expected "host:port"'


def plane_address(value: str) -> str:
    """`value`, if it says where the API of a control plane can be.

    Raises:
        ValueError: it is not of the form host:port; says what is wrong.
    """
    try:
        kind, _ = split_address(value)
    except ValueError as error:
        help_text = str(error) if ":" in value else _ADDRESS
        raise invalid(f'"{value}" is not an address', help_text=help_text) from None
    if kind != "tcp":
        raise invalid(f'"{value}" is not of the form host:port')
    return value


def _time(value: str) -> str:
    try:
        if value:
            datetime.fromisoformat(value)
    except ValueError:
        raise invalid(f'"{value}" is not a time', help_text='like "2027-01-31T12:00:00Z"') from None
    return value


def _four(value: list[Any]) -> list[Any]:
    if len(value) != 4:
        raise invalid("must have 4 entries: instance, cell, zone, all", note=f"has {len(value)}")
    return value


class TokenSettings(Section):
    """One person, or one program, that may call. The token itself is kept by whoever uses it."""

    sha256: Annotated[str, form(r"^[0-9a-f]{64}$", "64 hex digits: shedproxy control token NAME")]
    """Of the token."""
    role: Role = "operator"
    """What it may: reader, publisher or operator."""
    until: Annotated[str, AfterValidator(_time)] = ""
    """Then it is worth nothing, by the clock of the control plane; "": it does not end."""

    @property
    def until_s(self) -> float:
        """Seconds since the epoch; 0: it does not end."""
        return datetime.fromisoformat(self.until).timestamp() if self.until else 0.0


class PromotionSettings(Section):
    """How careful a promotion is, unless its order says otherwise. Lists are by scope: the first
    instance, the rest of its cell, the rest of its zone, every other zone.
    """

    bake: Annotated[list[Annotated[Duration, at_least("1ms")]], AfterValidator(_four)] = preset(
        ["1h", "1h", "2h", "2h"]
    )
    """How long each scope is watched before the next one begins."""
    requests: int = preset(1000, ge=1)
    """And how many requests it has to serve meanwhile."""
    forward_share: float = preset(0.05, gt=0, le=1)
    """Most of all instances that get a release in one step; one at least."""
    back_share: float = preset(0.33, gt=0, le=1)
    """Most that get the former one back in one step."""
    false_alarm: float = preset(0.01, gt=0, le=0.5)
    """Probability, at most, that a release that is no worse is rolled back."""
    miss: float = preset(0.05, gt=0, le=1)
    """Probability, about, that a scope is left although a release does harm there: 0.25 points more
    of errors, refusals or requests over a limit, one point of slow answers or 4xx, and twice as
    many at least. Until that is known the next scope waits; 1: time and requests are enough."""


class MoveSettings(Section):
    """How long a tenant that changes its cell may take (`shedproxy control move-tenant`)."""

    mark: Annotated[Duration, at_least("1s")] = preset("5m")
    """Until every host can hold it, or the move is given up: longer than their `snapshot.period`.
    A host that has just started can when what its former processes left must have ended: after its
    drain and `timeouts.response` together."""
    hold: Annotated[Duration, at_least("100ms")] = preset("4s")
    """How long its requests wait for those that are at work, or the move is given up. Hosts let
    none wait for more than 10 s, nor beyond its deadline. By the clock of a control plane: with
    several that differ it lasts twice as long at most."""
    period: Annotated[Duration, at_least("50ms")] = preset("200ms")
    """Time between two looks at the hosts that a move waits for; no longer than `period`."""


PersonName = Annotated[
    str, form(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", "letters, digits, . _ @ and -, at most 64")
]


class ControlPlaneSettings(Section):
    """What `shedproxy control run` needs to know."""

    listen: Annotated[str, AfterValidator(plane_address)] = "127.0.0.1:9800"
    """Where its API is. Beyond loopback it needs tokens."""
    store: Annotated[
        str, form(r"^(file:///|s3://)\S+$", 'like "file:///folder" or "s3://bucket/prefix"')
    ]
    """Where ledger, snapshots and reports are. Instances have source "STORE/hosts/{instance}"."""
    key: str
    """File of the private key that signs snapshots; it is nowhere else."""
    period: Annotated[Duration, at_least("50ms")] = preset("5s")
    """Time between two looks at the fleet."""
    timeout: Annotated[Duration, at_least("100ms")] = preset("5s")
    """Of one operation of the store."""
    silence: Annotated[Duration, at_least("1s")] = preset("60s")
    """A host whose reports stand still for so long is not heard of: six of its periods."""
    take_within: Annotated[Duration, at_least("1s")] = preset("2m")
    """A host that does not run by then what it is to run is in trouble."""
    clocks: Annotated[Duration, at_least("100ms")] = preset("2s")
    """Hosts and other control planes whose clocks are further from this one's are told of in status
    and log: holds of moves, shifts of zones and tokens end by clocks."""
    promotion: PromotionSettings = PromotionSettings()
    move: MoveSettings = MoveSettings()
    token: dict[PersonName, TokenSettings] = preset({})
    """Who may call, by name. Without any, everybody on this host may look, and whoever runs as the
    user of the control plane, or as root, may give orders."""


def load_control_plane(file: Path) -> ControlPlaneSettings:
    """The settings in a file; the key's name is made absolute.

    Raises:
        ConfigInvalidError: with every problem, located.
    """
    layer = read_file(file, written_by="shedproxy control init")
    try:
        settings = ControlPlaneSettings.model_validate(layer.values)
    except ValidationError as error:
        raise ConfigInvalidError(_problems(error, layer)) from error
    return settings.model_copy(update={"key": str(file.absolute().parent / settings.key)})


def _problems(error: ValidationError, layer: FileLayer) -> list[Problem]:
    problems = []
    for detail, found in zip(
        error.errors(include_url=False), translate(error, [layer]), strict=True
    ):
        path = path_of(detail["loc"])
        if detail["type"] == "extra_forbidden":
            problems.append(_unknown_key(path, layer))
        elif detail["type"] == "missing":
            problems.append(_missing(path, layer))
        else:
            problems.append(found)
    return problems


def _missing(path: tuple[str, ...], layer: FileLayer) -> Problem:
    found = at_path([layer], path[:-1], f"{'.'.join(path)} is missing", on_key=True)
    return found if found.source else Problem(message=found.message, path=path, source=layer.name)


def _unknown_key(path: tuple[str, ...], layer: FileLayer) -> Problem:
    known = list(_model_at(path[:-1]).model_fields)
    near = nearest(path[-1], known)
    return at_path(
        [layer],
        path,
        f'unknown key "{path[-1]}"',
        note=f'did you mean "{near}"?' if near else "no such key here",
        help_text="" if near else f"known here: {', '.join(known)}",
        on_key=True,
    )


def _model_at(path: tuple[str, ...]) -> type[Section]:
    tables: dict[str, Any] = {
        "promotion": PromotionSettings,
        "move": MoveSettings,
        "token": TokenSettings,
    }
    return tables.get(path[0], ControlPlaneSettings) if path else ControlPlaneSettings
