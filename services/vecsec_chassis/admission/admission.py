"""Who is served, who waits and who is turned away. Pure but for a clock: it is told of calls, and says when their turn
is.

Calls that wait take turns by tenant. One that would wait for longer than its deadline allows, or than others would gain
by it, is turned away at once: then it has cost nearly nothing, and its caller can go elsewhere or come back.

Nobody has a place for a request that has not been sent: such calls are counted apart, few of a tenant.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from vecsec_chassis.admission.adaptive_limit import AdaptiveLimit
from vecsec_chassis.admission.fair_queue import FairQueue
from vecsec_chassis.admission.shares import ShareOf
from vecsec_chassis.domain.errors import Overloaded, TenantLimit, VecSecError

LONGEST_WAIT_SECONDS = 0.5
"""Nobody is let wait who would probably wait for longer."""
_ALWAYS_WAIT = 16
"""So many of a tenant may wait whatever it looks like: what is slow now may be quick in a moment."""
_MOST_WAITING = 1_024
_MOST_SERVED = 1_024
"""With those that have given their place up."""
_MOST_STREAMS = 256
_MOST_RECEIVING, _MOST_RECEIVING_OF_A_TENANT = 128, 32
"""Requests that are on their way for longer than usual, of at most 1 MiB each."""
_SMOOTHING = 0.1
_FIRST_INTERVAL_SECONDS = 0.005
_SHORTEST_ADVICE_SECONDS, _LONGEST_ADVICE_SECONDS = 0.1, 5.0


class State(Enum):
    """Where a call is."""

    WAITING = "waiting"
    SERVED = "served"
    SLOW = "slow"
    """Served, without a place."""
    RECEIVING = "receiving"
    """Waits for its own request, without a place."""
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Ticket:
    """A call."""

    tenant_id: str
    method: str
    deadline: float | None
    """By the clock; None for never."""
    on_turn: Callable[["Ticket"], None]
    """Called when a call that waited is served, or has waited in vain (GONE)."""
    arrived_at: float
    weight: float
    state: State = State.WAITING
    served_at: float = 0.0
    at_once: int = 0
    """How many had places when this one got its own, itself included."""
    sends_slowly: bool = False
    """Its request did not arrive with it; until it has a place again."""
    is_refused: bool = False
    """Turned away after it had come in."""


@dataclass(slots=True)
class Counts:
    """What became of calls, for metrics."""

    admitted: int = 0
    shed: dict[str, int] = field(default_factory=dict)
    """By reason: no_time (its deadline could not be met), queue (too many wait), tenant (its tenant has its share),
    unread (its tenant does not read its answers), late (its request does not arrive, and others wait for theirs)."""


class Admission:
    """Of one service."""

    def __init__(
        self,
        limit: AdaptiveLimit,
        clock: Callable[[], float],
        *,
        share_of: ShareOf,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`clock` is in seconds; `spread` chooses between two numbers."""
        self._limit = limit
        self._clock = clock
        self._share_of = share_of
        self._spread = spread
        self._queue: FairQueue[Ticket] = FairQueue()
        self._with_place = 0
        self._slow = 0
        self._of_tenant: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._receiving: Counter[str] = Counter()
        self._interval = _FIRST_INTERVAL_SECONDS
        """Between two calls that end while others wait."""
        self._ended_at: float | None = None
        self.counts = Counts(shed=dict.fromkeys(("no_time", "queue", "tenant", "unread", "late"), 0))

    @property
    def limit(self) -> int:
        """So many have a place at once."""
        return self._limit.limit

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def served(self) -> int:
        """How many are served, with a place or without."""
        return self._with_place + self._slow

    def enter(self, tenant_id: str, method: str, deadline: float | None, on_turn: Callable[[Ticket], None]) -> Ticket:
        """A call comes in: it is SERVED, or WAITING for `on_turn`. Each that came in has to `leave`.

        Raises:
            Overloaded: if more is asked for than can be served in time.
            TenantLimit: if the tenant has its share, and others are there too.
        """
        share = self._share_of(tenant_id)
        now = self._clock()
        if self._of_tenant[tenant_id] >= share.most_at_once:
            raise self._refusal("tenant", 0.0, is_own=True)
        ticket = Ticket(tenant_id, method, deadline, on_turn, now, share.weight)
        if self._with_place < self._limit.limit and not self._queue:
            self._serve(ticket, now)
        else:
            self._let_wait(ticket, now)
        self._of_tenant[tenant_id] += 1
        return ticket

    def enter_stream(self, tenant_id: str) -> None:
        """A stream of requests begins, which goes on for long and needs no place; it has to `leave_stream`.

        Raises:
            Overloaded, TenantLimit: if there are enough already.
        """
        if self._streams[tenant_id] >= self._share_of(tenant_id).most_streams:
            raise self._refusal("tenant", 0.0, is_own=True)
        if self._streams.total() >= _MOST_STREAMS:
            raise self._refusal("queue", 0.0, is_own=False)
        self._streams[tenant_id] += 1
        self.counts.admitted += 1

    def leave_stream(self, tenant_id: str) -> None:
        """A stream has ended."""
        _subtract(self._streams, tenant_id)

    def leave(self, ticket: Ticket, *, is_typical: bool = True, is_late: bool = False) -> None:
        """The call has ended, or waits no longer. `is_typical`: whether the time that it took tells anything;
        `is_late`: whether this process is."""
        state, ticket.state = ticket.state, State.GONE
        _subtract(self._of_tenant, ticket.tenant_id)
        self._slow_no_longer(ticket)
        if state is State.WAITING:
            self._queue.remove(ticket.tenant_id, ticket)
        if state in (State.WAITING, State.RECEIVING):
            return
        now = self._clock()
        if state is State.SLOW:
            self._slow -= 1
        elif state is State.SERVED:
            self._with_place -= 1
        if is_typical and state is not State.GONE:
            self._limit.sample(ticket.method, now - ticket.served_at, ticket.at_once, is_late=is_late)
        self._take_turns(now)

    def give_place_up(self, ticket: Ticket) -> None:
        """The call takes long: it waits for something, and others can be served meanwhile."""
        if ticket.state is State.SERVED and self.served < _MOST_SERVED:
            ticket.state = State.SLOW
            self._with_place -= 1
            self._slow += 1
            self._take_turns(self._clock())

    def request_is_late(self, ticket: Ticket) -> None:
        """The call's request did not arrive with it: its place goes to others until `request_arrived`.

        Raises:
            Overloaded, TenantLimit: if enough are waited for already.
        """
        if ticket.state is not State.SERVED:
            return
        ticket.state, ticket.sends_slowly = State.RECEIVING, True
        self._with_place -= 1
        self._receiving[ticket.tenant_id] += 1
        self._take_turns(self._clock())
        is_own = self._receiving[ticket.tenant_id] > _MOST_RECEIVING_OF_A_TENANT
        if is_own or self._receiving.total() > _MOST_RECEIVING:
            ticket.is_refused = True
            raise self._refusal("late", 0.0, is_own=is_own)

    def request_arrived(self, ticket: Ticket) -> None:
        """The call's request is there. If its place was given up it is SERVED again, or WAITING for `on_turn`.

        Raises:
            Overloaded, TenantLimit: as for a call that comes in.
        """
        now = self._clock()
        if ticket.state is State.SERVED:
            ticket.served_at = now
        if ticket.state is not State.RECEIVING:
            return
        if self._with_place < self._limit.limit and not self._queue:
            self._serve(ticket, now)
            return
        try:
            self._let_wait(ticket, now)
        except VecSecError:
            ticket.is_refused = True
            raise
        ticket.state, ticket.arrived_at = State.WAITING, now

    def _let_wait(self, ticket: Ticket, now: float) -> None:
        wait, place = self._expected_wait(ticket.tenant_id)
        if ticket.deadline is not None and now + wait >= ticket.deadline:
            raise self._refusal("no_time", wait, is_own=False)
        if len(self._queue) >= _MOST_WAITING or (wait > LONGEST_WAIT_SECONDS and place >= _ALWAYS_WAIT):
            # Where others wait less, it is the tenant's own calls that fill its share.
            is_own = self._queue.keys_waiting > 1 and place * self._queue.keys_waiting >= len(self._queue)
            raise self._refusal("tenant" if is_own else "queue", wait, is_own=is_own)
        self._queue.add(ticket.tenant_id, ticket, weight=ticket.weight)

    def _expected_wait(self, tenant_id: str) -> tuple[float, int]:
        """How many seconds one more call of a tenant would wait, and how many of the tenant wait before it."""
        place = self._queue.count(tenant_id)
        tenants = self._queue.keys_waiting + (place == 0)
        ahead = min(len(self._queue), (place + 1) * tenants)
        return ahead * self._interval, place

    def _refusal(self, why: str, wait: float, *, is_own: bool) -> VecSecError:
        self.counts.shed[why] += 1
        advice = min(max(wait, _SHORTEST_ADVICE_SECONDS), _LONGEST_ADVICE_SECONDS)
        after = round(self._spread(advice, 2 * advice), 3)  # so that those refused together do not come back together
        if is_own:
            return TenantLimit("this tenant has its share of the service already; try again later", retry_after=after)
        return Overloaded("more is asked for than can be answered in time; try again later", retry_after=after)

    def _take_turns(self, now: float) -> None:
        if not self._queue:
            self._ended_at = None
            return
        if self._ended_at is not None:
            self._interval += _SMOOTHING * (now - self._ended_at - self._interval)
        self._ended_at = now
        while self._with_place < self._limit.limit and (ticket := self._queue.take()) is not None:
            if ticket.deadline is not None and now >= ticket.deadline:
                self.counts.shed["no_time"] += 1
                ticket.state = State.GONE
            else:
                self._serve(ticket, now)
            ticket.on_turn(ticket)

    def _serve(self, ticket: Ticket, now: float) -> None:
        self._with_place += 1
        if not self._slow_no_longer(ticket):
            self.counts.admitted += 1
        ticket.state, ticket.served_at, ticket.at_once = State.SERVED, now, self._with_place

    def _slow_no_longer(self, ticket: Ticket) -> bool:
        """Whether it was until now."""
        was_slow, ticket.sends_slowly = ticket.sends_slowly, False
        if was_slow:
            _subtract(self._receiving, ticket.tenant_id)
        return was_slow


def _subtract(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
