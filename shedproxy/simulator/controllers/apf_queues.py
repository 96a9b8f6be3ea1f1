"""Fair queueing of seats: the queue set of Kubernetes API Priority and Fairness.

Source: k8s.io/apiserver, pkg/util/flowcontrol/fairqueuing/queueset and pkg/util/shufflesharding. A
flow may use a hand of queues and goes to the one with the least work waiting. R is the progress of
an ideal server that serves all active queues evenly, in seat-nanoseconds per queue. Each queue has
the reading of R at which its next request starts there; whose would end first is dispatched. The
time of service is guessed at 3 ms and put right when it is known.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from heapq import heappop, heappush

from shedproxy.core import Instant, Ticket, milliseconds

__all__ = ["QueueSet", "SeatQueue", "deal_hand"]

_SERVICE_GUESS_NS = milliseconds(3)


@lru_cache(maxsize=1 << 16)
def deal_hand(flow_hash: int, queues: int, hand: int) -> tuple[int, ...]:
    """The queues a flow may use: `hand` different cards of the deck, dealt by its hash.

    `flow_hash` is 0 or more, and should have 64 even bits.
    """
    cards: list[int] = []
    for deck in range(queues, queues - hand, -1):
        flow_hash, card = divmod(flow_hash, deck)
        for taken in sorted(cards):
            if card >= taken:
                card += 1
        cards.append(card)
    return tuple(cards)


class SeatQueue:
    """One of the queues. Readings of R are in seat-nanoseconds."""

    __slots__ = ("executing", "finish", "index", "next_r", "seats_waiting", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.next_r = 0
        """R at which its next request starts in the ideal server."""
        self.finish = -1
        """R at which the oldest waiter ends there; -1: nobody waits."""
        self.waiting: OrderedDict[int, tuple[Ticket, int]] = OrderedDict()
        """Tickets by serial with R at their arrival, oldest first."""
        self.seats_waiting = 0
        self.executing = 0


class QueueSet:
    """Queues that share seats. `advance` comes before anything else at an instant.

    Args:
        queues: 0 or more; without any there is no fairness, only seats.
        hand: queues of a flow, 1..queues.
        seats: that may be in use at once, 0 or more.
    """

    def __init__(self, *, queues: int, hand: int, seats: int) -> None:
        self.seats = seats
        self.seats_in_use = 0
        self.seats_waiting = 0
        self.executing = 0
        """Requests that hold seats."""
        self.waiting = 0
        """Requests that wait for them."""
        self._hand = hand
        self._queues = [SeatQueue(index) for index in range(queues)]
        self._heap: list[tuple[int, int]] = []
        self._r = 0
        self._r_at = 0
        self._active = 0
        """Queues with a request, waiting or executing."""
        self._dealt = 0
        self._robin = -1

    def advance(self, now: Instant) -> None:
        """Let R grow as it did since the last call: all usable seats, over the active queues."""
        if self._active:
            rate = min(self.seats, self.seats_in_use + self.seats_waiting)
            self._r += (now - self._r_at) * rate // self._active
        self._r_at = now

    def fits(self, cost: int) -> bool:
        """Whether there are so many seats; what is wider than all of them runs alone."""
        if cost > self.seats:
            return not self.executing
        return self.seats_in_use + cost <= self.seats

    def choose(self, flow_hash: int) -> SeatQueue:
        """The queue of the flow's hand with the least work waiting."""
        hand = deal_hand(flow_hash, len(self._queues), self._hand)
        first = self._dealt % len(hand)
        self._dealt += 1
        queues = self._queues
        best = queues[hand[first]]
        for offset in range(first + 1 - len(hand), first):
            queue = queues[hand[offset]]
            if queue.seats_waiting < best.seats_waiting:
                best = queue
        return best

    def enter(self, queue: SeatQueue) -> None:
        """A request is about to wait in the queue, or to run from it at once."""
        if not queue.waiting and not queue.executing:
            self._active += 1
            queue.next_r = self._r

    def enqueue(self, queue: SeatQueue, ticket: Ticket) -> None:
        """To the end of a queue that it has entered."""
        queue.waiting[ticket.serial] = (ticket, self._r)
        queue.seats_waiting += ticket.cost
        self.seats_waiting += ticket.cost
        self.waiting += 1
        self._rank(queue)

    def dequeue(self, queue: SeatQueue, ticket: Ticket) -> None:
        """Out of the queue, to `start` or to `leave` next."""
        del queue.waiting[ticket.serial]
        queue.seats_waiting -= ticket.cost
        self.seats_waiting -= ticket.cost
        self.waiting -= 1

    def start(self, queue: SeatQueue | None, cost: int) -> None:
        """Take seats. The queue's next request starts when this one ends, as far as is known."""
        self.executing += 1
        self.seats_in_use += cost
        if queue is not None:
            queue.executing += 1
            queue.next_r += cost * _SERVICE_GUESS_NS
            self._robin = queue.index
            self._rank(queue)

    def end(self, queue: SeatQueue | None, cost: int, service_ns: int) -> None:
        """Give seats back, and put the guess right."""
        self.executing -= 1
        self.seats_in_use -= cost
        if queue is not None:
            queue.executing -= 1
            queue.next_r -= cost * (_SERVICE_GUESS_NS - service_ns)
            self.leave(queue)

    def leave(self, queue: SeatQueue) -> None:
        """A request has left the queue for good."""
        self._rank(queue)
        if not queue.waiting and not queue.executing:
            self._active -= 1

    def _rank(self, queue: SeatQueue) -> None:
        """Put the queue where its oldest waiter belongs. None starts before it has arrived:
        without that, a queue that could not use its seats would have saved them up.
        """
        finish = -1
        if queue.waiting:
            ticket, arrival_r = next(iter(queue.waiting.values()))
            queue.next_r = max(queue.next_r, arrival_r)
            finish = queue.next_r + ticket.cost * _SERVICE_GUESS_NS
        if finish != queue.finish:
            queue.finish = finish
            if finish >= 0:
                heappush(self._heap, (finish, queue.index))

    def next_ticket(self) -> tuple[SeatQueue, Ticket]:
        """Whose turn it is, while somebody waits: the least finish, or of equal ones the next
        queue round from the last that was served.
        """
        heap = self._heap
        equals: set[int] = set()
        least = -1
        while heap:
            finish, index = heap[0]
            if self._queues[index].finish == finish:
                if equals and finish != least:
                    break
                least = finish
                equals.add(index)
            heappop(heap)
        for index in equals:
            heappush(heap, (least, index))
        first, count = self._robin + 1, len(self._queues)
        queue = self._queues[min(equals, key=lambda index: (index - first) % count)]
        return queue, next(iter(queue.waiting.values()))[0]
