"""Who is served, who waits and who is turned away. Pure but for a clock: it is told of calls, and says when their turn
is.

Of the tenants whose calls wait, the one that had places for the shortest time lately is next: a call that takes as long
as a hundred counts as a hundred. One that would wait for longer than its deadline allows, or than others would gain by
it, is turned away at once: then it has cost nearly nothing, and its caller can go elsewhere or come back. A tenant is
told that this is its own doing only where it used more than its share.

Nobody has a place for what takes none: a request that has not been sent (of those few of a tenant), or a turn that is
waited for elsewhere in the service. Dear calls have half of the places at most, so that plain ones never wait for them
alone.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from vecsec_chassis.admission.adaptive_limit import AdaptiveLimit
from vecsec_chassis.admission.recent_use import RecentUse
from vecsec_chassis.admission.shares import ShareOf
from vecsec_chassis.admission.waiting_calls import WaitingCalls
from vecsec_chassis.domain.errors import Overloaded, TenantLimit, VecSecError

LONGEST_WAIT_SECONDS = 0.5
"""Nobody is let wait who would probably wait for longer."""
_ALWAYS_WAIT = 16
"""So many of a tenant may wait whatever it looks like: what is slow now may be quick in a moment."""
_WITHIN = 0.5
"""Of the mean of what tenants used: who used no more is let wait whatever it looks like, for its turn is next."""
_MOST_TIMES_USUAL, _DEAR_TIMES_USUAL = 4.0, 20.0
"""What a plain call is charged at most, and a dear one until it is known."""
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
    ASIDE = "aside"
    """Waits for its turn at something else of this service, without a place."""
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
    usual_seconds: float = 0.0
    """That a plain call like it has a place for."""
    charged: float = 0.0
    """Seconds of a place that its tenant was charged beforehand."""
    was_served: bool = False
    """It has had a place before."""
    is_dear: bool = False
    """It takes much more than a plain call; known before it comes back from aside."""
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
        self._queue: WaitingCalls[Ticket] = WaitingCalls()
        self._dear: WaitingCalls[Ticket] = WaitingCalls()
        """Dear calls that were let in and wait to go on."""
        self._use = RecentUse(clock)
        """Of places, in seconds, by weight."""
        self._with_place = self._dear_with_place = 0
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
        return len(self._queue) + len(self._dear)

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
            (self._dear if ticket.is_dear else self._queue).remove(ticket.tenant_id, ticket)
        if state in (State.WAITING, State.RECEIVING, State.ASIDE):
            return
        now = self._clock()
        if state is State.SLOW:
            self._slow -= 1
        elif state is State.SERVED:
            self._leave_place(ticket, now)
        if is_typical and not ticket.is_dear and state is not State.GONE:
            self._limit.sample(ticket.method, now - ticket.served_at, ticket.at_once, is_late=is_late)
        self._take_turns(now)

    def give_place_up(self, ticket: Ticket) -> None:
        """The call takes long: it waits for something, and others can be served meanwhile."""
        if ticket.state is State.SERVED and self.served < _MOST_SERVED:
            ticket.state = State.SLOW
            self._slow += 1
            self._leave_place(ticket, self._clock())
            self._take_turns(self._clock())

    def step_aside(self, ticket: Ticket) -> None:
        """The call waits for its turn at something else: its place goes to others until it wants to `come_back`."""
        if ticket.state is State.SERVED:
            ticket.state = State.ASIDE
            self._leave_place(ticket, self._clock())
            self._take_turns(self._clock())

    def come_back(self, ticket: Ticket, *, is_dear: bool) -> None:
        """Let a call go on that stepped aside: it is SERVED, or WAITING for `on_turn`. As it was let in before, it is
        not turned away but for its deadline. From here on it is dear, or not."""
        if ticket.state is not State.ASIDE:
            return
        now = self._clock()
        ticket.is_dear = is_dear
        ticket.state, ticket.arrived_at = State.WAITING, now
        (self._dear if is_dear else self._queue).add(ticket.tenant_id, ticket)
        self._fill(now)

    def charge(self, ticket: Ticket, seconds: float) -> None:
        """Charge the call's tenant for what was done for it without a place."""
        self._use.add(ticket.tenant_id, seconds / ticket.weight)

    def request_is_late(self, ticket: Ticket) -> None:
        """The call's request did not arrive with it: its place goes to others until `request_arrived`.

        Raises:
            Overloaded, TenantLimit: if enough are waited for already.
        """
        if ticket.state is not State.SERVED:
            return
        ticket.state, ticket.sends_slowly = State.RECEIVING, True
        self._leave_place(ticket, self._clock())
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
        tenant_id, place = ticket.tenant_id, self._queue.count(ticket.tenant_id)
        self._use.add(tenant_id, 0.0)  # who waits is one of those who share
        is_within = not self._use.exceeds(tenant_id, _WITHIN)
        tenants = self._queue.tenants + (place == 0)
        ahead = place + 1 if is_within else (place + 1) * tenants
        wait = min(ahead, len(self._queue)) * self._interval
        if ticket.deadline is not None and now + wait >= ticket.deadline:
            raise self._refusal("no_time", wait, is_own=False)
        is_too_long = wait > LONGEST_WAIT_SECONDS and place >= _ALWAYS_WAIT
        if len(self._queue) >= _MOST_WAITING or (is_too_long and not is_within):
            # Its own doing only where it used more than others and waits with more than they do.
            is_own = place * tenants >= len(self._queue) and self._use.exceeds(tenant_id, 1.0)
            raise self._refusal("tenant" if is_own else "queue", wait, is_own=is_own)
        self._queue.add(tenant_id, ticket)

    def _refusal(self, why: str, wait: float, *, is_own: bool) -> VecSecError:
        self.counts.shed[why] += 1
        advice = min(max(wait, _SHORTEST_ADVICE_SECONDS), _LONGEST_ADVICE_SECONDS)
        after = round(self._spread(advice, 2 * advice), 3)  # so that those refused together do not come back together
        if is_own:
            return TenantLimit("this tenant has its share of the service already; try again later", retry_after=after)
        return Overloaded("more is asked for than can be answered in time; try again later", retry_after=after)

    def _take_turns(self, now: float) -> None:
        """A place is free."""
        if not self._queue:
            self._ended_at = None
        else:
            if self._ended_at is not None:
                self._interval += _SMOOTHING * (now - self._ended_at - self._interval)
            self._ended_at = now
        self._fill(now)

    def _fill(self, now: float) -> None:
        while self._with_place < self._limit.limit and (ticket := self._next()) is not None:
            if ticket.deadline is not None and now >= ticket.deadline:
                self.counts.shed["no_time"] += 1
                ticket.state = State.GONE
            else:
                self._serve(ticket, now)
            ticket.on_turn(ticket)

    def _next(self) -> Ticket | None:
        """Whose turn it is; dear calls have turns as long as fewer than half of the places are theirs."""
        tenant_id = self._queue.next_tenant(self._use.of)
        if self._dear_with_place < max(self._limit.limit // 2, 1):
            other = self._dear.next_tenant(self._use.of)
            if other is not None and (tenant_id is None or self._use.of(other) < self._use.of(tenant_id)):
                return self._dear.take(other)
        return None if tenant_id is None else self._queue.take(tenant_id)

    def _serve(self, ticket: Ticket, now: float) -> None:
        self._with_place += 1
        self._dear_with_place += ticket.is_dear
        ticket.usual_seconds = self._limit.usual_seconds(ticket.method)
        ticket.charged = ticket.usual_seconds * (_DEAR_TIMES_USUAL if ticket.is_dear else 1.0)
        self._use.add(ticket.tenant_id, ticket.charged / ticket.weight)
        self._slow_no_longer(ticket)
        self.counts.admitted += not ticket.was_served
        ticket.was_served = True
        ticket.state, ticket.served_at, ticket.at_once = State.SERVED, now, self._with_place

    def _leave_place(self, ticket: Ticket, now: float) -> None:
        """Its tenant is charged what the call took instead of what was expected: of a plain one some times as much at
        most, for that it took longer was others' doing."""
        self._with_place -= 1
        self._dear_with_place -= ticket.is_dear
        seconds = now - ticket.served_at
        if not ticket.is_dear:
            seconds = min(seconds, _MOST_TIMES_USUAL * ticket.usual_seconds)
        self._use.add(ticket.tenant_id, (seconds - ticket.charged) / ticket.weight)

    def _slow_no_longer(self, ticket: Ticket) -> None:
        if ticket.sends_slowly:
            ticket.sends_slowly = False
            _subtract(self._receiving, ticket.tenant_id)


def _subtract(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
