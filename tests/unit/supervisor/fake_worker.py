"""A worker that only speaks the channel's protocol; its behaviour is chosen by the document.

Run as a script by the tests. The document's text is a JSON object here:
`{"on_start": "ready" | "exit" | "hang" | "garbage" | "refuse", "revision": N}`;
a real one means ready.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys

parser = argparse.ArgumentParser()
for name in ("--kind", "--listen-fds", "--die-once", "--stubborn"):
    parser.add_argument(name, default="")
for name in ("--index", "--workers", "--region", "--page-fd", "--channel-fd", "--stack-fd"):
    parser.add_argument(name, type=int)
parser.add_argument("--bell-fds", default="")
parser.add_argument("--shared", action="store_true")
args = parser.parse_args()
channel = socket.socket(fileno=args.channel_fd)
lines = channel.makefile("r")
if args.stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def say(op: str, **fields: object) -> None:
    channel.sendall(json.dumps({"op": op, **fields}).encode() + b"\n")


def on_document(text: str) -> None:
    document = json.loads(text)
    match "ready" if has_started else document.get("on_start", "ready"):
        case "exit":
            sys.exit(7)
        case "garbage":
            channel.sendall(b"not json\n")
        case "refuse":
            say("refused", problems=[{"message": "cannot import app"}])
            sys.exit(3)
        case "ready":
            say("ready")
            say("applied", revision=document.get("revision", 0))
            say("upstreams", cells={"default": {"http://a": True}})
            say("log", lines=[f"pid {os.getpid()}"])


has_started = False
for line in lines:
    message = json.loads(line)
    if args.stubborn and message["op"] in {"stop", "drain"}:
        continue
    match message["op"]:
        case "document":
            on_document(message["document"])
            has_started = True
        case "memory" | "weights" if not message["cells"]:
            pass
        case "mode" | "announce" | "memory" | "weights":
            say("log", lines=[line.strip()])
        case "drain":
            say("drained", left=0)
        case "stop":
            break
if args.stubborn:
    signal.pause()
