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
)
from shedproxy.listening.callers import (
    NO_PAGES,
    NOT_JSON,
    REBOUND,
    Refusal,
    bearer,
    is_json,
    is_local_name,
    is_own_page,
)
from shedproxy.listening.server import AppServer

__all__ = [
    "BODY_SIZE_MAX",
    "NOT_JSON",
    "NO_PAGES",
    "REBOUND",
    "AppServer",
    "Refusal",
    "bearer",
    "guarded",
    "is_json",
    "is_local_name",
    "is_own_page",
    "json_answer",
    "problem",
    "problem_handlers",
    "read_object",
]
