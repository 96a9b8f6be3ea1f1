"""The fault matrix: what can go wrong around a proxy, and what shedproxy promises for each.

A row is a fault by its number. Tests claim rows with `@pytest.mark.fault("U1", ...)` and say with
the fixture `figure` what they measured; `docs/faults.md` is this table with the figures.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PARTS", "ROWS", "Row"]

PARTS = {"U": "Upstream", "C": "Client", "H": "Process and host", "K": "Configuration and control"}
"""First letter of a row's number -> heading."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault."""

    number: str
    fault: str
    promise: str
    """What a client, the upstream or the operator can rely on."""


def _rows(table: str) -> tuple[Row, ...]:
    lines = (line.split(" | ") for line in table.strip().splitlines())
    return tuple(Row(*(part.strip() for part in line)) for line in lines)


ROWS = _rows("""
U1 | connections are refused | 502 or 503 at once, one more try on another host at most, nothing sent is repeated
U2 | connections are answered by nothing | given up after `timeouts.connect` (1 s), the slot is back, other hosts serve on
U3 | reset right after accept | 502 at once, counted against the host, no slot is lost
U4 | three connections in ten are reset | 99 of 100 idempotent requests succeed within the retry budget; no other request is sent twice
U5 | accepted, never answered | 504 when the time for the answer is over and not later, the slot is back, other cells serve on
U6 | accepted, never read | the body waits in a bounded buffer; the exchange ends at its time limit
U7 | fails at once with 500 or 503 | errors do not draw traffic or teach latency; the upstream's 503 and Retry-After reach the client
U8 | answers ten times slower | the limit falls within seconds, waiting stays bounded, refusals stay quick
U9 | recovers from one moment to the next | full throughput within 3 s, in flight never above the limit
U10 | the first byte is late | answered, as long as it comes in time
U11 | a counted body is cut by a reset | the client sees the cut too: never passed off as whole
U12 | a counted body is cut by an orderly close | the same
U13 | a chunked body ends without its last chunk | the same; the last chunk is never made up
U14 | cut inside the head, or nothing at all | 502 at once
U15 | the answer is not HTTP | 502; the connection is not used again
U16 | more bytes than the answer has | the connection is closed; the next client gets its own answer
U17 | an idle pooled connection is closed | nobody sees it: healed on another connection where nothing can run twice
U18 | the peer is gone without a word | noticed by its time limit or by keep-alive probes within 15 s, its connections are dropped
U19 | the name resolves to something else, to nothing, or not at all | the last good addresses stay; names are resolved in the background, never for a request
U20 | all instances restart within seconds | errors only while none is up, reconnecting is bounded
U21 | one of several instances is slow | its share of the traffic falls below half of an equal one
U22 | the answer trickles | a least rate and a total time bound how long it may hold a slot
U23 | a huge head, or interim answers without end | 502 within bounded memory
U24 | answers while the body is still being sent | the answer is relayed, the rest of the body ends the connection or is dropped: no desync
U25 | loss, delay and reordering on the way | slower, without errors; the limit does not collapse
C1 | reset while the body is being sent | the upstream never sees a complete request, the slot is back within 100 ms
C2 | reset while waiting for the answer | the upstream's connection is closed within a second, the slot is back, and it counts as a client's leaving
C3 | the head comes slowly | 408 at `timeouts.client_head`, without ever holding a slot
C4 | the body comes slowly | no slot until 64 KiB are in; below `body_rate_min` it is ended, and below `contended_rate_min` while others wait
C5 | the answer is read slowly or not at all | a bounded buffer, a deadline for progress, the slot back when the upstream is done, or below `contended_rate_min` while others wait
C6 | thousands of idle connections | little memory each and no slot
C7 | sixteen requests in one go | answered in order, one at a time per connection
C8 | nonsense after a good request | the good one is answered, then 400 and the end
C9 | half-closed after the request | the answer still arrives
C10 | more connections than fit | refused or answered quickly, normal again within a second
C11 | each refusal is retried three times at once | goodput stays at 90 % of capacity; Retry-After spreads
C12 | one tenant asks for twenty times its share | the others keep 95 % of theirs
H1 | SIGTERM under load | readiness fails first, what runs is finished, nothing is cut, the exit is within the grace
H2 | SIGTERM while an upstream hangs | the exit is at the grace, whoever still waits gets 503 or 504
H3 | a second signal | an orderly end at once
H4 | SIGKILL of one worker | the others serve on; only its own requests are lost; a new one is there within a second or so
H5 | SIGKILL of everything, and a start | ready within 2 s from the files alone
H6 | stopped for 5 s, then continued | no burst above the limit, deadlines hold, the stop is not held against the upstream
H7 | the event loop stalls for 500 ms | counted, and what it timed meanwhile does not teach latency
H8 | many objects for the garbage collector | what was there at the start is frozen: less than 20 ms more at the 99th percentile
H9 | no file descriptors left | accepting pauses, what runs is finished, no busy loop, and it recovers
H10 | memory becomes short | the sum of buffers is bounded; refused before the kernel has to
H11 | a tenth of a processor | health answers within a second; refuses instead of timing out
H12 | the disk is full or read-only | serving goes on, lost log lines are counted, state files stay whole
H13 | nobody reads the log | serving goes on, lost lines are counted
H14 | the wall clock jumps by an hour | nothing expires and nothing sticks: decisions use the monotonic clock
H15 | the monotonic clock runs fast or slow | measurements scale with it, nothing divides by zero
H16 | no local ports left | 502 or 503 quickly, pooled connections serve on, and it recovers
H17 | the port is taken | said clearly, and the exit code is not 0
H18 | one of several workers stands still | its slots are used by the others after two seconds
H19 | workers cannot read the page that they share | each serves with an equal part of the limits, at least one; log, status and metrics say so
K1 | the control plane is missing at the start | there is none to miss: the file, or the built-in defaults, suffice
K2 | the supervisor's control lane is gone for long | workers decide as before, from the document they hold
K3 | the control listener is asked slowly or heavily | no request ever waits for it
K4 | the configuration file is cut | refused as a whole, the former one stays, and it is said
K5 | the configuration is corrupt | refused as a whole with the place of every mistake, the former one stays
K6 | an older document arrives late | the newer one stays
K7 | valid, but absurd | limits have floors and ceilings; what can only be a mistake is refused
K8 | the configuration flaps | applied at a bounded rate; nothing that was learnt is lost
K9 | half of the workers have the new document | every request is decided by one document from its begin to its end
K10 | keys that this version does not know | refused as a whole, each one named
K11 | cells come, go and are renamed under load | no error on the others; what was removed finishes what it has
K12 | reload during a drain | nothing breaks, the drain goes on
K13 | certificates expire, change or do not match | a new pair is taken without a dropped connection; one that does not match is refused and the old one kept
K14 | the shared store of limits is lost | there is none: every worker decides alone, from its own part
K15 | a request that breaks its handler | only that request fails; its cell bounds what it can take
""")
"""All of them, in order."""
