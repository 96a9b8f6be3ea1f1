"""What an orchestrator is asked for: another host, then the end of the old one.

Each errand is an act on one bullet. It is run at least once: after a restart it is run again, under
the same key, and whoever receives it does it once. A webhook is a signed POST; a command gets the
same words in its environment, and no shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from shedproxy.clock import wall_seconds
from shedproxy.core import Act, Bullet, to_seconds
from shedproxy.snapshot import ReplacementDocument

__all__ = ["Errands", "sign"]

_WORDS = {Act.ASK: "replace", Act.TELL: "remove"}
_FIRST_PAUSE_S = 1.0
_PAUSE_MAX_S = 60.0
_OUTPUT_SIZE_MAX = 512


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """What `shedproxy-signature` says: an HMAC-SHA256 of `timestamp.body`."""
    return (
        "sha256=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    )


class Errands:
    """Runs errands, each a task; `close` gives up what is under way.

    Args:
        ledger_id: names the ledger to an orchestrator that hears of several.
        report: takes an event and its facts.
    """

    def __init__(
        self,
        ledger_id: str,
        report: Callable[[str, Mapping[str, object]], None],
        *,
        wall: Callable[[], float] = wall_seconds,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._ledger_id = ledger_id
        self._report = report
        self._wall = wall
        self._first_pause_s = first_pause_s
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def run(self, act: Act, bullet: Bullet, document: ReplacementDocument) -> None:
        """Begin an errand, unless it is under way."""
        facts = self._facts(act, bullet)
        key = facts["key"]
        if key in self._tasks or not document.is_on:
            return
        task = asyncio.get_running_loop().create_task(self._run(facts, document))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _facts(self, act: Act, bullet: Bullet) -> dict[str, str]:
        word = _WORDS[act]
        return {
            "action": word,
            "cell": bullet.cell,
            "host": bullet.host,
            "zone": bullet.zone,
            "reason": bullet.reason.label,
            "new": bullet.newcomer,
            "key": f"{self._ledger_id}-{bullet.serial}-{word}",
        }

    async def _run(self, facts: dict[str, str], document: ReplacementDocument) -> None:
        pause_s, why = self._first_pause_s, ""
        for attempt in range(document.attempts):
            if attempt:
                await asyncio.sleep(pause_s)
                pause_s = min(_PAUSE_MAX_S, 2 * pause_s)
            try:
                async with asyncio.timeout(to_seconds(document.timeout_ns)):
                    ask = self._post if document.url else self._start
                    why = await ask(facts, document)
            except TimeoutError:
                why = "not done in time"
            except Exception as error:  # noqa: BLE001 - an errand that cannot be run is told of too
                why = f"{type(error).__name__}: {error}"
            if not why:
                self._report("replacement asked", {**facts, "attempts": attempt + 1})
                return
        self._report("replacement failed", {**facts, "attempts": document.attempts, "why": why})

    async def _post(self, facts: dict[str, str], document: ReplacementDocument) -> str:
        """Why it was not taken, or ""."""
        import httpx2  # noqa: PLC0415 - memory that only who asks for hosts needs

        try:
            secret = await asyncio.to_thread(_read_secret, document.secret_file)
        except OSError as error:
            return f"{document.secret_file}: {error.strerror}"
        if not secret:
            return f"{document.secret_file}: it is empty"
        body = json.dumps(facts).encode()
        timestamp = str(int(self._wall()))
        headers = {
            "content-type": "application/json",
            "idempotency-key": facts["key"],
            "shedproxy-timestamp": timestamp,
            "shedproxy-signature": sign(secret, timestamp, body),
        }
        try:
            # The bound of a try is that of all of it: the client's own are shorter.
            async with httpx2.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=None
            ) as client:
                answer = await client.post(document.url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            return str(error) or type(error).__name__
        return "" if answer.status_code < 300 else f"status {answer.status_code}"

    async def _start(self, facts: dict[str, str], document: ReplacementDocument) -> str:
        """Why it did not succeed, or ""."""
        environ = {f"SHEDPROXY_{name.upper()}": text for name, text in facts.items()}
        # No pipe: one that is full would hold it up, and one that a child of its keeps open, us.
        with tempfile.TemporaryFile() as said:
            try:
                process = await asyncio.create_subprocess_exec(
                    *document.command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    env={**os.environ, **environ},
                    start_new_session=True,
                )
            except OSError as error:
                return f"cannot start: {error.strerror}"
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                await process.wait()
                raise
            said.seek(0)
            text = said.read(_OUTPUT_SIZE_MAX).decode(errors="replace").strip()
        return "" if code == 0 else f"exit code {code}" + (f": {text}" if text else "")


def _read_secret(file: str) -> bytes:
    return Path(file).read_bytes().strip()
