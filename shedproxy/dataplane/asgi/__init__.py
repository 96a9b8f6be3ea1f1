"""The ASGI middleware: any ASGI application, any ASGI server, standard library only."""

from shedproxy.dataplane.asgi.marks import criticality
from shedproxy.dataplane.asgi.middleware import ShedMiddleware
from shedproxy.dataplane.asgi.state import ShedState

__all__ = ["ShedMiddleware", "ShedState", "criticality"]
