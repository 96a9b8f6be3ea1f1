"""What no single value shows: bounds that contradict each other, names that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath

from shedproxy.errors import Problem
from shedproxy.settings.cell_checks import check_cells
from shedproxy.settings.cells import CellSettings
from shedproxy.settings.compile import cells_of, initial_limit
from shedproxy.settings.layers import Layer
from shedproxy.settings.located import Check
from shedproxy.settings.models import RuleSettings, Settings
from shedproxy.settings.outlier_checks import check_outliers
from shedproxy.settings.quantities import show_duration, split_address
from shedproxy.settings.shape import Path, nearest
from shedproxy.settings.tls_files import fault_of_authorities, fault_of_pair

__all__ = ["check_settings", "label_of"]

_FRAMING = frozenset(("connection", "content-length", "shedproxy-id", "transfer-encoding"))
_OF_THE_MESSAGE = frozenset(
    (
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Headers of a refusal that nobody else may write."""


def check_settings(
    settings: Settings, layers: Sequence[Layer], broken: Sequence[Path] = ()
) -> list[Problem]:
    """Every contradiction between values that are valid each for itself.

    `broken` are the paths of values that were refused already and stand at their defaults in
    `settings`: what is compared with one of them is left out.
    """
    check = Check(layers, broken)
    return [
        *(
            problem
            for name, cell in settings.cell.items()
            for problem in _check_cell(("cell", name), cell, check)
        ),
        *_check_rules(settings, check),
        *_check_server(settings, check),
        *_check_headers(settings, check),
        *_check_reject(settings, check),
        *check_cells(settings, check),
        *check_outliers(settings, check),
        *_check_files(settings, check),
        *_check_snapshot(settings, check),
    ]


def label_of(rule: RuleSettings, index: int) -> str:
    """How messages name a rule: by number, and by name or path if it has one."""
    name = rule.name or next(iter(rule.match.path), "")
    return f'rule {index + 1} ("{name}")' if name else f"rule {index + 1}"


def _check_cell(path: Path, cell: CellSettings, check: Check) -> Iterator[Problem]:
    limit, owner = cell.limit, f'cell "{path[1]}"'
    low, high, first = ((*path, "limit", key) for key in ("min", "max", "initial"))
    if limit.algorithm == "fixed":
        if limit.initial is None:
            yield from check.error(
                (*path, "limit", "algorithm"),
                f"{owner}: a fixed limit needs its value",
                help_text=f"add initial = {limit.max if limit.max < 1000 else 64}",
                related=first,
            )
    elif limit.max < limit.min:
        yield from check.error(
            high,
            f"{owner}: limit.max must be at least limit.min",
            note=f"{limit.max} is below min = {limit.min}{check.where(low)}",
            help_text="lower min or raise max",
            related=low,
        )
    elif limit.initial is not None and not limit.min <= limit.initial <= limit.max:
        bound, name = (low, "min") if limit.initial < limit.min else (high, "max")
        relation = "below" if name == "min" else "above"
        yield from check.error(
            first,
            f"{owner}: limit.initial must lie between limit.min and limit.max",
            note=f"{limit.initial} is {relation} {name} = {getattr(limit, name)}"
            f"{check.where(bound)}",
            related=bound,
        )
    if cell.queue.hand > cell.queue.shards:
        yield from check.error(
            (*path, "queue", "hand"),
            f"{owner}: queue.hand must be at most queue.shards",
            note=f"{cell.queue.hand} queues out of {cell.queue.shards}",
            related=(*path, "queue", "shards"),
        )


def _check_rules(settings: Settings, check: Check) -> Iterator[Problem]:
    cells = cells_of(settings)
    for index, rule in enumerate(settings.rule):
        path, label = ("rule", str(index)), label_of(rule, index)
        name = rule.cell or "default"
        cell = cells.get(name)
        if cell is None:
            near = nearest(name, cells)
            yield from check.error(
                (*path, "cell"),
                f'{label} names an unknown cell "{name}"',
                note=f'did you mean "{near}"?' if near else "",
                help_text=f"cells are {', '.join(cells)}; [cell.{name}] would make another",
                related=("cell", name),
            )
        elif rule.lane == "data":
            limit = cell.limit
            most = initial_limit(limit) if limit.algorithm == "fixed" else limit.max
            if rule.cost > most:
                yield from check.error(
                    (*path, "cost"),
                    f"{label} costs more than its cell ever has",
                    note=f'{rule.cost} slots, cell "{name}" has at most {most}',
                    related=("cell", name, "limit", "max"),
                )
        if rule.limit is not None and 0 < rule.limit < rule.cost:
            yield from check.error(
                (*path, "limit"),
                f"{label} can never be admitted: its cost is above its limit",
                note=f"{rule.limit} is below cost = {rule.cost}{check.where((*path, 'cost'))}",
                help_text="to refuse always, write limit = 0",
                related=(*path, "cost"),
            )


def _check_server(settings: Settings, check: Check) -> Iterator[Problem]:
    server = settings.server
    seen: dict[str, Path] = {}
    listeners = [(("server", "listen", str(i)), text) for i, text in enumerate(server.listen)]
    for path, text in [*listeners, (("control", "listen"), settings.control.listen)]:
        if text in seen and not text.endswith(":0"):
            yield from check.error(
                path,
                f'"{text}" is listened on twice',
                note=f"as in {'.'.join(seen[text][:2])}{check.where(seen[text][:2])}",
                related=seen[text],
            )
        seen.setdefault(text, path)
    kind, name = split_address(settings.control.listen)
    if kind == "fd":
        yield from check.error(
            ("control", "listen"),
            "control.listen must be an address of its own",
            note="an inherited socket cannot be named",
        )
    if kind == "systemd" and (not name or "systemd" in server.listen):
        yield from check.error(
            ("control", "listen"),
            "control.listen must be an address of its own",
            note='"systemd" takes every socket that is handed over',
            help_text='write "systemd:NAME" for both, with the names of their sockets',
        )
    if server.target_size_max > server.head_size_max:
        yield from check.error(
            ("server", "target_size_max"),
            "server.target_size_max must be at most server.head_size_max",
            note=f"{server.target_size_max} is above {server.head_size_max} bytes"
            f"{check.where(('server', 'head_size_max'))}",
            related=("server", "head_size_max"),
        )


def _check_headers(settings: Settings, check: Check) -> Iterator[Problem]:
    """What is rewritten for the upstream must not be what says where a message ends or goes."""
    headers = settings.headers
    for key, names in (
        ("criticality", [headers.criticality]),
        ("attempt", headers.attempt),
        ("deadline", headers.deadline),
    ):
        for name in names:
            if name in _OF_THE_MESSAGE:
                yield from check.error(
                    ("headers", key),
                    f"headers.{key} cannot be {name}",
                    note="the field belongs to the message and would be sent twice",
                )


def _check_reject(settings: Settings, check: Check) -> Iterator[Problem]:
    spread = settings.reject.retry_after
    if spread.max < spread.min:
        yield from check.error(
            ("reject", "retry_after", "max"),
            "reject.retry_after.max must be at least min",
            note=f"{show_duration(spread.max)} is below min = {show_duration(spread.min)}",
            related=("reject", "retry_after", "min"),
        )
    for name in settings.reject.headers:
        if name in _FRAMING:
            yield from check.error(
                ("reject", "headers", name),
                f"reject.headers cannot set {name}",
                note="it follows from the refusal itself",
                on_key=True,
            )


def _check_files(settings: Settings, check: Check) -> Iterator[Problem]:
    """Certificates come in pairs, and every file that is named is there and of use."""
    server: Path = ("server", "tls")
    yield from _check_pair(server, settings.server.tls.cert, settings.server.tls.key, check)
    for key in ("token_file", "read_token_file"):
        yield from _check_file(("control", key), getattr(settings.control, key), check)
    for name, cell in settings.cell.items():
        tls = cell.transport.tls
        owner: Path = ("cell", name, "transport", "tls")
        yield from _check_pair(owner, tls.cert, tls.key, check)
        missing = list(_check_file((*owner, "ca"), tls.ca, check))
        yield from missing
        fault = fault_of_authorities(tls.ca) if tls.ca and not missing else ""
        if fault:
            yield from check.error((*owner, "ca"), f"{'.'.join(owner)}.ca cannot be used: {fault}")


def _check_pair(owner: Path, cert: str, key: str, check: Check) -> Iterator[Problem]:
    if bool(cert) != bool(key):
        given, absent = ("cert", "key") if cert else ("key", "cert")
        yield from check.error(
            (*owner, given),
            f"{'.'.join((*owner, given))} needs {absent} beside it",
            note="only one of the pair is given",
            related=(*owner, absent),
        )
    missing = [
        *_check_file((*owner, "cert"), cert, check),
        *_check_file((*owner, "key"), key, check),
    ]
    yield from missing
    fault = fault_of_pair(cert, key) if cert and key and not missing else ""
    if fault:
        yield from check.error(
            (*owner, "cert"),
            f"{'.'.join(owner)}: cert and key cannot be used: {fault}",
            related=(*owner, "key"),
        )


def _check_file(path: Path, file: str, check: Check) -> Iterator[Problem]:
    if file and not FilePath(file).is_file():
        yield from check.error(
            path, f"{'.'.join(path)}: no such file", help_text=f"looked for {file}"
        )


def _check_snapshot(settings: Settings, check: Check) -> Iterator[Problem]:
    """A source alone is of no use: somebody must be believed, and something kept."""
    snapshot = settings.snapshot
    source: Path = ("snapshot", "source")
    for key, meaning in (("keys", "public keys to believe"), ("folder", "a folder to keep it in")):
        if snapshot.source and not getattr(snapshot, key):
            yield from check.error(
                ("snapshot", key),
                f"snapshot.source needs snapshot.{key}: {meaning}",
                help_text="make keys with: shedproxy snapshot keygen NAME" if key == "keys" else "",
                related=source,
            )
    for index, file in enumerate(snapshot.keys):
        yield from _check_file(("snapshot", "keys", str(index)), file, check)
    yield from _check_file(("snapshot", "token_file"), snapshot.token_file, check)
