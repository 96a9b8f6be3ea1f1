"""What listeners that take orders have in common: answers, who calls, and uvicorn on bound sockets.

Below the supervisor and the control plane, which both have one. Nothing here decides what anybody
may do, and nothing of it is in the path of a data request.
"""

from shedproxy.listening.answers import (
    BODY_SIZE_MAX,
    guarded,
    json_answer,
    problem,
    problem_handlers,
    read_object,
    refused,
)
from shedproxy.listening.callers import (
    NO_PAGES,
    NOT_JSON,
    PEER_USER,
    REBOUND,
    Peer,
    Refusal,
    address_of,
    bearer,
    is_json,
    is_local_name,
    is_own_page,
    peer_of,
)
from shedproxy.listening.order_key import OrderKey, read_order_key
from shedproxy.listening.server import AppServer

__all__ = [
    "BODY_SIZE_MAX",
    "NOT_JSON",
    "NO_PAGES",
    "PEER_USER",
    "REBOUND",
    "AppServer",
    "OrderKey",
    "Peer",
    "Refusal",
    "address_of",
    "bearer",
    "guarded",
    "is_json",
    "is_local_name",
    "is_own_page",
    "json_answer",
    "peer_of",
    "problem",
    "problem_handlers",
    "read_object",
    "read_order_key",
    "refused",
]
