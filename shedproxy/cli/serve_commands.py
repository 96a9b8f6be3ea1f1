"""`shedproxy run` and `shedproxy app`: serve until told to end."""

from __future__ import annotations

import enum
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shedproxy.cli.exit_codes import EXIT_CONFIG
from shedproxy.cli.output import print_problems
from shedproxy.cli.settings_file import DEFAULT_FILE, find_file
from shedproxy.errors import DocumentInvalidError, StartupError

if TYPE_CHECKING:
    from shedproxy.supervisor.run import RunOptions

__all__ = ["app", "run"]

_WORKERS_MAX = 64

Listen = Annotated[
    list[str] | None,
    typer.Option(
        "--listen",
        metavar="ADDR",
        help='"host:port", ":port", "unix:/path", "fd:N" or "systemd". Repeatable.',
    ),
]
Control = Annotated[
    str | None,
    typer.Option(
        "--control", metavar="ADDR", help="Listener of health, metrics, status and orders."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="A fixed limit instead of the adaptive one."),
]
Enforce = Annotated[bool, typer.Option("--enforce", help="Refuse what is too much (default).")]
Observe = Annotated[bool, typer.Option("--observe", help="Decide and count, refuse nothing.")]
Off = Annotated[bool, typer.Option("--off", help="Pass everything on.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help=f"Settings; else ./{DEFAULT_FILE} if there."),
]


def _workers(text: str) -> int:
    """A number, or "auto": the processors that this process may use, at most 64."""
    if text == "auto":
        return min(_WORKERS_MAX, len(os.sched_getaffinity(0)))
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= _WORKERS_MAX:
        raise typer.BadParameter(f"{text!r} is neither 1 to {_WORKERS_MAX} nor auto")
    return count


Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        parser=_workers,
        metavar="N|auto",
        help="Worker processes; auto: as many as processors that may be used.",
    ),
]
State = Annotated[
    Path | None,
    typer.Option(
        "--state", metavar="FILE", help="Keep learnt baselines here, for restarts under load."
    ),
]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record", metavar="FILE", help="Record decisions, bounded, for `shedproxy replay`."
    ),
]
Snapshot = Annotated[
    str | None,
    typer.Option(
        "--snapshot", metavar="URL", help="Where signed snapshots are fetched: managed mode."
    ),
]
SnapshotKey = Annotated[
    list[Path] | None,
    typer.Option("--snapshot-key", metavar="FILE", help="A public key to believe."),
]
SnapshotFolder = Annotated[
    Path | None,
    typer.Option("--snapshot-folder", metavar="DIR", help="Where the last good ones are kept."),
]
CheckConfig = Annotated[
    bool, typer.Option("--check-config", help="Validate the settings and stop: 0 good, 3 bad.")
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print every value with its source and stop.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is served where.")]


class _Way(enum.Enum):
    """Where requests go."""

    PROXY = "wire"
    APPLICATION = "asgi"


def run(
    upstreams: Annotated[
        list[str] | None,
        typer.Argument(metavar="UPSTREAM", help="http://host:port or unix:/path."),
    ] = None,
    listen: Listen = None,
    control: Control = None,
    limit: Limit = None,
    enforce: Enforce = False,
    observe: Observe = False,
    off: Off = False,
    config: Config = None,
    workers: Workers = None,
    state: State = None,
    record: Record = None,
    snapshot: Snapshot = None,
    snapshot_key: SnapshotKey = None,
    snapshot_folder: SnapshotFolder = None,
    check_config: CheckConfig = False,
    print_config: PrintConfig = False,
    verbose: Verbose = False,
) -> None:
    """Stand in front of an HTTP service and keep it inside its capacity.

    Of several upstreams the least loaded is chosen. Without one, those of the config file.

    Examples:
        shedproxy run http://127.0.0.1:8000
        shedproxy run http://10.0.0.1:80 http://10.0.0.2:80 --listen :8080 --observe
        shedproxy run --config shedproxy.toml --check-config
    """
    overrides = make_overrides(
        upstreams=upstreams,
        listen=listen,
        control=control,
        limit=limit,
        mode=_mode(enforce=enforce, observe=observe, off=off),
        workers=workers,
        state=state,
    )
    overrides |= _managed(snapshot, snapshot_key, snapshot_folder)
    _serve(
        _Way.PROXY,
        find_file(config),
        overrides,
        record=record,
        check_config=check_config,
        print_config=print_config,
        verbose=verbose,
    )


def app(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The ASGI application.")],
    factory: Annotated[bool, typer.Option("--factory", help="APP is called to make it.")] = False,
    app_dir: Annotated[
        str, typer.Option("--app-dir", metavar="DIR", help="Where MODULE is looked for first.")
    ] = "",
    listen: Listen = None,
    control: Control = None,
    limit: Limit = None,
    enforce: Enforce = False,
    observe: Observe = False,
    off: Off = False,
    config: Config = None,
    workers: Workers = None,
    state: State = None,
    record: Record = None,
    snapshot: Snapshot = None,
    snapshot_key: SnapshotKey = None,
    snapshot_folder: SnapshotFolder = None,
    check_config: CheckConfig = False,
    print_config: PrintConfig = False,
    verbose: Verbose = False,
) -> None:
    """Serve an ASGI application with shedding mounted.

    Examples:
        shedproxy app main:app
        shedproxy app shop.web:create_app --factory --workers 4 --limit 40
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise typer.BadParameter(f"{target!r} has no colon", param_hint="MODULE:APP")
    overrides = make_overrides(
        upstreams=None,
        listen=listen,
        control=control,
        limit=limit,
        mode=_mode(enforce=enforce, observe=observe, off=off),
        workers=workers,
        state=state,
    )
    overrides |= _managed(snapshot, snapshot_key, snapshot_folder)
    arguments = ["--app", target, "--app-dir", app_dir or "."]
    if factory:
        arguments.append("--factory")
    _serve(
        _Way.APPLICATION,
        find_file(config),
        overrides,
        worker_arguments=tuple(arguments),
        target=target,
        record=record,
        check_config=check_config,
        print_config=print_config,
        verbose=verbose,
    )


def make_overrides(
    *,
    upstreams: list[str] | None,
    listen: list[str] | None,
    control: str | None,
    limit: int | None,
    mode: str | None,
    workers: int | None,
    state: Path | None,
) -> dict[str, object]:
    """The flags, as settings by their dotted names; None leaves one to environment and file."""
    return {
        "mode": mode,
        "server.listen": listen or None,
        "server.workers": workers,
        "server.state_file": None if state is None else str(state),
        "control.listen": control,
        "cell.default.upstream": upstreams or None,
        "cell.default.limit": limit,
    }


def _managed(source: str | None, keys: list[Path] | None, folder: Path | None) -> dict[str, object]:
    return {
        "snapshot.source": source,
        "snapshot.keys": [str(key) for key in keys or ()] or None,
        "snapshot.folder": None if folder is None else str(folder),
    }


def _mode(*, enforce: bool, observe: bool, off: bool) -> str | None:
    given = {"enforce": enforce, "observe": observe, "off": off}
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise typer.BadParameter("--enforce, --observe and --off exclude each other")
    return chosen[0] if chosen else None


def _serve(
    way: _Way,
    file: Path | None,
    overrides: dict[str, object],
    *,
    worker_arguments: tuple[str, ...] = (),
    target: str = "",
    record: Path | None,
    check_config: bool,
    print_config: bool,
    verbose: bool,
) -> None:
    from shedproxy.supervisor.run import RunOptions, run_supervisor

    if record is not None:
        worker_arguments = (*worker_arguments, "--record", str(record))
    options = RunOptions(
        file=file,
        overrides=overrides,
        kind=way.value,
        worker_arguments=worker_arguments,
        target=target,
        verbose=verbose,
    )
    try:
        if check_config or print_config:
            _show_config(options, print_config=print_config)
            return
        if record is not None:
            from shedproxy.dataplane.recorder import check_record_file

            check_record_file(str(record))
        raise typer.Exit(run_supervisor(options))
    except DocumentInvalidError as error:
        print_problems(error.problems)
        raise typer.Exit(EXIT_CONFIG) from None
    except StartupError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(EXIT_CONFIG) from None


def _show_config(options: RunOptions, *, print_config: bool) -> None:
    """What `run` would start with. ConfigInvalidError when it would not start."""
    from shedproxy.settings import load_settings, require_upstream
    from shedproxy.supervisor.rehearsal import rehearse

    loaded = load_settings(options.file, environ=options.environ, overrides=options.overrides)
    rehearse(loaded.document)
    if options.kind == _Way.PROXY.value:
        require_upstream(loaded)
    print_problems(loaded.warnings)
    if not print_config:
        typer.echo("configuration is good")
        return
    for name, value, source in loaded.effective():
        typer.echo(f"{name} = {json.dumps(value)}  # {source or 'command line'}")
