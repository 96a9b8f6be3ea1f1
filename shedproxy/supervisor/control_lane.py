"""The control listener, composed: what it shows, who may what, and the key of orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shedproxy.listening import AppServer, OrderKey
from shedproxy.settings import ControlSettings
from shedproxy.supervisor.access import access_by
from shedproxy.supervisor.control import Operations, make_app
from shedproxy.supervisor.sockets import Listener

__all__ = ["ControlLane"]


class ControlLane:
    """Answers on bound sockets.

    Args:
        control: the sockets.
        operations: what is shown and done there.
        settings: gives those in force.
        environ: of the process.
        report: is told when nobody can give orders.
    """

    def __init__(
        self,
        control: Sequence[Listener],
        operations: Operations,
        settings: Callable[[], ControlSettings],
        *,
        environ: Mapping[str, str],
        report: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        is_public = not all(listener.address.is_loopback for listener in control)
        with_key = [each.bound for each in control if each.address.kind == "tcp"]
        self.key = OrderKey(() if is_public else with_key, environ)
        access = access_by(settings, is_public=is_public, key=self.key)
        app = make_app(operations, access)
        self._server = AppServer(app, [listener.socket for listener in control])
        if self.key.why and not settings().token_file:
            help_text = "set control.token_file, or XDG_RUNTIME_DIR to a folder of this user"
            report("no order key", {"why": self.key.why, "help": help_text})

    async def start(self) -> None:
        """Return when it answers."""
        await self._server.start()

    async def stop(self) -> None:
        """Remove the key, answer what was asked, then close; bounded."""
        # While the address is ours: afterwards the file may be of who has it then.
        self.key.forget()
        await self._server.stop()
