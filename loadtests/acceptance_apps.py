"""Real applications to be calibrated: FastAPI before a pool of threads, and before SQLite.

Runs as a process of its own, `python -m loadtests.acceptance_apps threads`: prints its port, ends
when its standard input does.
"""

from __future__ import annotations

import argparse
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import uvicorn
from fastapi import FastAPI

__all__ = ["APPS", "main"]

_POOL_THREADS, _POOL_SERVICE_S = 8, 0.025
_ORDERS = 60_000
_QUERY = "select customer, count(*), sum(price) from orders where price > ? group by customer"


def _application(threads: int) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = threads
        yield

    return FastAPI(lifespan=lifespan)


def thread_pool() -> FastAPI:
    """A pool of 8 threads, each busy with a request for 25 ms: a call to something slower."""
    app = _application(_POOL_THREADS)

    @app.get("/")
    def ask() -> dict[str, bool]:
        time.sleep(_POOL_SERVICE_S)
        return {"ok": True}

    return app


def sqlite_queries() -> FastAPI:
    """One connection to a database in memory, which one request at a time has."""
    app = _application(1)
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("create table orders (customer integer, price real)")
    database.executemany(
        "insert into orders values (?, ?)",
        ((place * 7919 % 50, place * 104_729 % 1000 / 10) for place in range(_ORDERS)),
    )

    @app.get("/")
    def ask() -> dict[str, int]:
        return {"customers": len(database.execute(_QUERY, (50,)).fetchall())}

    return app


APPS = {"threads": thread_pool, "sqlite": sqlite_queries}


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.acceptance_apps")
    parser.add_argument("app", choices=sorted(APPS))
    app = APPS[parser.parse_args().app]()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="error", access_log=False, backlog=2048, lifespan="on")
    )

    def until_input_ends() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=until_input_ends, daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
