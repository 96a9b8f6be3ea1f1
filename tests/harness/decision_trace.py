"""Plays a seeded random trace at classifier and core, and prints a digest of every decision.

Run with a seed; equal seeds must print equal digests in every process.
"""

from __future__ import annotations

import heapq
import random
import sys
from hashlib import sha256

from shedproxy.core import (
    CellPolicy,
    Criticality,
    FairnessPolicy,
    Instant,
    Kind,
    LimitPolicy,
    Mode,
    Outcome,
    Permit,
    Policy,
    QueuePolicy,
    Rejected,
    RejectReason,
    Shedder,
    ShedLevelPolicy,
    Ticket,
    milliseconds,
    seconds,
)
from shedproxy.dataplane.classify import Classifier
from shedproxy.snapshot import Classification, Match, Rule

ARRIVALS = 20_000
GAP_MS = 0.6
"""Mean time between arrivals: about three times what the cells can do."""
OUTCOMES = (*[Outcome.SUCCESS] * 17, Outcome.OVERLOAD, Outcome.ABANDONED, Outcome.IGNORE)


def policy(mode: Mode, ceiling: int) -> Policy:
    return Policy(
        mode=mode,
        cells=(
            CellPolicy(
                name="default",
                limit=LimitPolicy(maximum=ceiling),
                queue=QueuePolicy(length_max=60, wait_max_ns=milliseconds(200)),
                resident_limit=20,
                default_timeout_ns=seconds(2),
            ),
            CellPolicy(
                name="search",
                limit=LimitPolicy(algorithm="gradient2", maximum=ceiling),
                queue=QueuePolicy(length_max=40),
                fairness=FairnessPolicy(slack=1.0),
            ),
            CellPolicy(
                name="reports",
                limit=LimitPolicy(algorithm="aimd", initial=2, maximum=8),
                queue=QueuePolicy(length_max=4),
                shed_level=ShedLevelPolicy(period_ns=milliseconds(20)),
                class_limits=(1, None, None, None),
            ),
        ),
    )


CLASSIFICATION = Classification(
    rules=(
        Rule(name="search", match=Match(path=("/search/**",)), cell="search"),
        Rule(name="report", match=Match(path=("/reports/*",)), cell="reports", cost=2),
        Rule(name="events", match=Match(path=("/events",)), kind=Kind.STREAM),
        Rule(name="legacy", match=Match(path=("/old/**",)), limit=1),
    ),
    tenant_header="x-tenant",
    trusted_peers=("10.0.0.0/8",),
)
PATHS = (b"/", b"/search/a", b"/search/b/c", b"/reports/1", b"/events", b"/old/x", b"/items/7")


class Trace:
    """One run: a clock of its own, a heap of finishes, a running digest."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = Instant(1_000_000_007)
        self.shedder = Shedder(policy(Mode.ENFORCE, 40), now=self.now)
        self.classifier = Classifier(CLASSIFICATION, self.shedder.policy, flow_key=b"the same")
        self.digest = sha256()
        self.counts = {reason: 0 for reason in RejectReason}
        self.permits = 0
        self.ends: list[tuple[int, int, Permit]] = []
        self.waiting: dict[int, Ticket] = {}

    def note(self, *facts: object) -> None:
        self.digest.update(repr(facts).encode())

    def take(self, decision: Permit | Rejected) -> None:
        if isinstance(decision, Rejected):
            self.counts[decision.reason] += 1
            self.note(
                "no", decision.reason.label, decision.numbers, decision.in_flight, decision.limit,
                decision.queue_length, decision.retry_after_ns, decision.waited_ns,
            )  # fmt: skip
            return
        self.permits += 1
        self.note("yes", decision.serial, decision.in_flight_before, decision.waited_ns)
        load = 1 + decision.in_flight_before / 20
        took_ms = self.rng.expovariate(1 / (25 * load))
        heapq.heappush(self.ends, (self.now + milliseconds(took_ms), self.permits, decision))

    def pass_on(self, verdicts) -> None:
        for ticket, decision in verdicts:
            self.note("verdict", ticket.serial)
            self.waiting.pop(ticket.serial, None)
            self.take(decision)

    def arrive(self, serial: int) -> None:
        rng = self.rng
        headers = [
            (b"x-tenant", b"tenant-%d" % int(rng.paretovariate(1.2))),
            (b"x-shedproxy-task", b"task-%d" % rng.randrange(3000)),
            (b"x-criticality", rng.choice(list(Criticality)).label.encode()),
        ]
        if rng.random() < 0.1:
            headers.append((b"x-retry-attempt", b"2"))
        if rng.random() < 0.3:
            headers.append((b"x-request-timeout-ms", b"%d" % rng.randrange(1, 3000)))
        peer = rng.choice(["10.1.2.3", "192.0.2.7"])
        found = self.classifier.classify(
            "GET", rng.choice(PATHS), headers, peer=peer, serial=serial
        )
        self.note(found.info.route, found.flow_hash, found.cohort, found.time_left_ns)
        decision = self.shedder.arrive(
            found.info,
            now=self.now,
            flow_hash=found.flow_hash,
            cohort=found.cohort,
            time_left_ns=found.time_left_ns,
        )
        if isinstance(decision, Ticket):
            self.note("wait", decision.serial, decision.rank, decision.expires_at)
            self.waiting[decision.serial] = decision
            if decision.evicted is not None:
                self.pass_on([decision.evicted])
            return
        self.take(decision)

    def finish_until(self, until: int) -> None:
        """Whatever comes first: the end of a request, or a tick of the shedder."""
        while True:
            end_at = self.ends[0][0] if self.ends else None
            tick_at = self.shedder.next_tick_at()
            at = min((t for t in (end_at, tick_at) if t is not None), default=None)
            if at is None or at > until:
                self.now = Instant(until)
                return
            self.now = Instant(max(at, self.now))
            if at == tick_at:
                self.pass_on(self.shedder.tick(now=self.now))
            else:
                self.finish(heapq.heappop(self.ends)[2])

    def finish(self, permit: Permit) -> None:
        chance = self.rng.random()
        self.shedder.respond(permit, now=self.now)
        if permit.request.route == "events" or chance < 0.01:
            self.pass_on(self.shedder.to_resident(permit, now=self.now))
        if chance > 0.98:
            self.pass_on(self.shedder.leave_zombie(permit, now=self.now))
        else:
            outcome = self.rng.choice(OUTCOMES)
            self.pass_on(self.shedder.release(permit, outcome, now=self.now))

    def leave(self) -> None:
        """A client stops waiting in the queue."""
        if self.waiting:
            serial = self.rng.choice(sorted(self.waiting))
            ticket = self.waiting.pop(serial)
            self.pass_on(self.shedder.abandon(ticket, now=self.now))

    def run(self) -> None:
        changes = {
            ARRIVALS // 4: policy(Mode.ENFORCE, 12),
            ARRIVALS // 2: policy(Mode.OBSERVE, 12),
            ARRIVALS * 5 // 8: policy(Mode.ENFORCE, 60),
        }
        for serial in range(ARRIVALS):
            gap = milliseconds(self.rng.expovariate(1 / GAP_MS))
            self.finish_until(self.now + gap)
            self.arrive(serial)
            if self.rng.random() < 0.01:
                self.leave()
            if serial in changes:
                self.pass_on(self.shedder.apply(changes[serial], now=self.now))
            if serial % 500 == 0:
                self.note(repr(self.shedder.stats()))
        self.finish_until(self.now + seconds(120))
        self.note(repr(self.shedder.stats()))


def main() -> None:
    trace = Trace(int(sys.argv[1]))
    trace.run()
    refused = " ".join(f"{reason.label}={n}" for reason, n in trace.counts.items() if n)
    print(trace.digest.hexdigest(), f"served={trace.permits}", refused)


if __name__ == "__main__":
    main()
