"""Whether one upstream is to be used, and how much at once. Pure: told what happened and when.

`fail_after` attempts in a row that got no answer take an upstream out. Then it is probed from
aside, at growing intervals. One that could not be connected to is back when it can be. One that
took connections and gave no answer is not believed before it answers a probe, and then gets one
request at a time until one is answered: that a kernel accepts proves nothing of the process behind.
Who comes back starts slowly (as nginx's `slow_start` and HAProxy's `slowstart` do): a few requests
at once, and twice as many every 100 ms.
"""

from __future__ import annotations

from collections import deque

from shedproxy.core import FULL_WEIGHT, NS_PER_MS, NS_PER_S, Instant

__all__ = ["NEVER", "WARM_STEP_NS", "Health"]

NEVER = Instant(1 << 62)
"""Later than anything."""
GHOSTS_MAX = 1024
GHOST_NS = NS_PER_S
"""How long a failed attempt counts as in use."""
WARM_COUNT = 4
"""Requests at once that an upstream gets when it comes back."""
WARM_STEP_NS = 100 * NS_PER_MS
"""Then twice as many after every such step, up to the configured bound."""
WARM_STEPS = 20
TRIAL_NS = NS_PER_S
TRIAL_STEPS = 5
"""An upstream that answers probes but no request gets the next request after this time, twice as
long each time, but so often only."""
UNPROVEN_NS = 30 * NS_PER_S
"""One that answers no probe gets a request all the same after this time: it may not like probes."""
_MULTIPLIER = 0x9E3779B97F4A7C15


class Health:
    """What is known of one upstream."""

    __slots__ = (
        "_probes",
        "_trials",
        "answers",
        "credit",
        "failures",
        "ghosts",
        "log2_sum",
        "must_answer",
        "out_until",
        "probe_at",
        "requests",
        "spoilt",
        "timed",
        "warm_since",
        "weight",
    )

    def __init__(self) -> None:
        self.failures = 0
        """Attempts in a row that got no answer."""
        self.answers = 0
        """Answers that ever began: whether there was one meanwhile is a sign of life."""
        self.ghosts: deque[Instant] = deque(maxlen=GHOSTS_MAX)
        """When each failed attempt stops counting as in use, soonest first."""
        self.out_until: Instant | None = None
        """None: in service. Else: out, and from then on open for one request that tries it."""
        self.must_answer = False
        """It is out although it takes connections: that it takes one more proves nothing."""
        self.probe_at = NEVER
        """While it is out: when to probe it next."""
        self._probes = 0
        self._trials = 0
        """Requests that it was given while out, none of them answered."""
        self.warm_since: Instant | None = None
        """When it came back; None once it takes all that it may."""
        self.weight = FULL_WEIGHT
        """The part of the requests that it may have, as all workers together decided; 0: none."""
        self.credit = 0
        """What a smaller weight has saved up for one request."""
        self.requests = self.spoilt = self.timed = 0
        """By `host_watch`: attempts that ended, those that failed, those whose time counts."""
        self.log2_sum = 0.0
        """Of their times in nanoseconds."""

    # --- what it may be given ---------------------------------------------------------------

    def is_open(self, now: Instant) -> bool:
        """In service, or out and due for a request that tries it."""
        out_until = self.out_until
        return out_until is None or out_until <= now

    def begin_trial(self, now: Instant) -> None:
        """A request is about to try it, if it is out. The next may when this one is long over."""
        if self.out_until is not None:
            self.out_until = self._trial_at(now)
            self._trials += 1

    def room(self, most: int, now: Instant) -> int:
        """How many requests it may have at once, of `most` configured."""
        warm_since = self.warm_since
        if warm_since is not None:
            warm = WARM_COUNT << min(WARM_STEPS, (now - warm_since) // WARM_STEP_NS)
            if warm < most:
                return warm
            self.warm_since = None
        return most

    def weighed(self, load: int, count: int) -> int:
        """What `load` counts for beside `count` hosts in all, when it may not have its whole part.

        As if it had less room by as much. With little in flight anywhere that would mean nothing at
        all, so it is due one request as soon as its part of the turns has come.
        """
        self.credit = min(self.credit + self.weight, FULL_WEIGHT * count)
        if self.credit == FULL_WEIGHT * count:
            return load
        return (load + 1) * FULL_WEIGHT // self.weight - 1

    # --- what happened ----------------------------------------------------------------------

    def answered(self, now: Instant, *, is_error: bool = False) -> bool:
        """It answered a request; True when this puts it back in service.

        `is_error`: with a 5xx, which says that it is there but must not make it look idle.
        """
        self.failures = 0
        is_back = self.out_until is not None
        if is_back:
            self._come_back(now)
        if is_error:
            self.spoil(now)
        return is_back

    def spoil(self, now: Instant) -> None:
        """What it gave was no good answer: that counts as in use for a while."""
        self.ghosts.append(Instant(now + GHOST_NS))

    def failed(
        self, now: Instant, *, fail_after: int, probe_every_ns: int, is_connected: bool
    ) -> bool:
        """A connect failed, or (`is_connected`) a connection gave no answer; True when this takes
        it out of service.
        """
        self.spoil(now)
        self.failures += 1
        if self.failures < fail_after:
            return False
        was_in_service = self.out_until is None
        if self.probe_at == NEVER:
            self.plan_probe(now, probe_every_ns=probe_every_ns)
        self.must_answer = self.must_answer or is_connected
        self.out_until = Instant(now + UNPROVEN_NS) if self.must_answer else NEVER
        return was_in_service

    def plan_probe(self, now: Instant, *, probe_every_ns: int) -> None:
        """The next probe: a quarter of the longest interval from now, then half of it, then all.

        Up to a quarter less, so that processes do not probe together.
        """
        interval = probe_every_ns >> max(0, 2 - self._probes)
        self._probes += 1
        jitter = (now * _MULTIPLIER >> 32 & 0xFF) * (interval >> 2) >> 8
        self.probe_at = Instant(now + interval - jitter)

    def probe_connected(self, now: Instant, *, fail_after: int) -> bool:
        """A probe connected; True when this puts it back, on trust: the next failure takes it out
        again.
        """
        if self.out_until is None or self.must_answer:
            return False
        self.failures = min(self.failures, fail_after - 1)
        self._come_back(now)
        return True

    def probe_answered(self, now: Instant) -> None:
        """A probe was answered: one request may try it, at once if none has in vain."""
        self.answers += 1
        if self.probe_at != NEVER:
            self.probe_at = NEVER
            self.out_until = self._trial_at(now) if self._trials else now

    def _trial_at(self, now: Instant) -> Instant:
        return Instant(now + (TRIAL_NS << min(TRIAL_STEPS, self._trials)))

    def _come_back(self, now: Instant) -> None:
        self.out_until = None
        self.must_answer = False
        self.probe_at = NEVER
        self.ghosts.clear()
        self._probes = self._trials = 0
        self.warm_since = now
