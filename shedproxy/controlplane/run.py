"""`shedproxy control run`, composed: store, ledger, key, service, API, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shedproxy.clock import wall_seconds
from shedproxy.controlplane.api import make_api
from shedproxy.controlplane.ledger import Ledger
from shedproxy.controlplane.move import MoveRules
from shedproxy.controlplane.persons import Persons, check_listener
from shedproxy.controlplane.rollout import RolloutRules
from shedproxy.controlplane.service import FleetService, ServiceRules, StoreGoneError
from shedproxy.controlplane.shelves import Shelves
from shedproxy.controlplane.snapshot_maker import SnapshotMaker
from shedproxy.core import Nanos, to_seconds
from shedproxy.errors import StartupError
from shedproxy.listening import AppServer, OrderKey, address_of
from shedproxy.settings import ControlPlaneSettings
from shedproxy.snapshot import Document
from shedproxy.store import SigningKey, open_store

__all__ = ["make_service", "serve", "write_event"]

_BACKLOG = 128

Report = Callable[[str, dict[str, Any]], None]


def write_event(event: str, facts: dict[str, Any]) -> None:
    """One line of JSON on standard error."""
    at = datetime.fromtimestamp(wall_seconds(), UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": at.replace("+00:00", "Z"), "event": event, **facts})
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def make_service(
    settings: ControlPlaneSettings,
    *,
    rehearse: Callable[[Document], None],
    report: Report = write_event,
) -> FleetService:
    """The service over the store that the settings name.

    Raises:
        ConfigInvalidError: the key cannot be read.
        StartupError: there is no such store, or what it needs is not installed.
    """
    key = SigningKey(Path(settings.key))
    store = open_store(settings.store, timeout=settings.timeout)
    promotion, move = settings.promotion, settings.move
    instance, cell, zone, everywhere = promotion.bake
    rules = ServiceRules(
        period_ns=settings.period,
        silence_ns=settings.silence,
        take_ns=settings.take_within,
        false_alarm=promotion.false_alarm,
        rollout=RolloutRules(
            bake_ns=(Nanos(instance), Nanos(cell), Nanos(zone), Nanos(everywhere)),
            requests_min=promotion.requests,
            forward_share=promotion.forward_share,
            back_share=promotion.back_share,
            miss=promotion.miss,
        ),
        move=MoveRules(mark_s=to_seconds(move.mark), hold_s=to_seconds(move.hold)),
        move_period_ns=min(move.period, settings.period),
        clocks_s=to_seconds(settings.clocks),
    )
    maker = SnapshotMaker(key.sign, rehearse)
    return FleetService(Ledger(store), Shelves(store, report), maker, rules, report=report)


async def serve(
    settings: ControlPlaneSettings,
    *,
    rehearse: Callable[[Document], None],
    report: Report = write_event,
) -> None:
    """Until SIGTERM or SIGINT.

    Raises:
        ConfigInvalidError: the key cannot be read, or everybody could change the fleet.
        StartupError: the address is taken, or there is no such store.
    """
    check_listener(settings.listen, settings.token)
    service = make_service(settings, rehearse=rehearse, report=report)
    listener = _bind(settings.listen)
    address = address_of(*listener.getsockname()[:2])
    # Where there is no token it is on loopback, or it would not have come this far.
    key = OrderKey(() if settings.token else [address], os.environ)
    if key.why:
        report("no order key", {"why": key.why, "help": "shedproxy control token NAME"})
    api = make_api(service, Persons(settings.token, key, wall_seconds))
    server = AppServer(api, [listener])
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rounds = asyncio.create_task(service.run(), name="rounds")
    await server.start()
    facts = {"listening": address, "order_key": key.file(), "store": settings.store}
    report("started", facts)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({rounds, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    rounds.cancel()
    key.forget()
    await server.stop()
    listener.close()
    with contextlib.suppress(asyncio.CancelledError):
        await rounds  # an error of its own ends the program, and is shown
    with contextlib.suppress(StoreGoneError, TimeoutError):
        async with asyncio.timeout(to_seconds(settings.timeout)):
            await service.close()
    report("stopped", {})


def _bind(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    with contextlib.ExitStack() as undo:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = undo.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise StartupError(f"cannot listen on {listen}: {error.strerror or error}") from error
        undo.pop_all()
        return listener
