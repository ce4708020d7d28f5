"""What each tenant has of this gateway at the moment, held to what it may have.

A call is charged to its caller's own tenant, whatever it asks for and whether it is let in: that is known from the
token alone, so nothing of any other tenant shows in a refusal, and probing is not free.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vecsec_chassis.admission.turns import FairTurns
from vecsec_chassis.domain.access import Identity
from vecsec_chassis.domain.errors import TenantLimit
from vecsec_chassis.domain.tenant_limits import Limit, TenantLimits, tenant_limit
from vecsec_chassis.domain.token_buckets import RecentRate, TokenBucket
from vecsec_gateway.limits.cost import DEAR, PLAIN
from vecsec_gateway.limits.talkers import TopTalkers

_MOST_TENANTS = 10_000
_MOST_CALLERS = 20_000
"""Whose buckets are kept; one that was not used for longest is full again anyway."""
_SHORTEST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_DEAR_AT_ONCE = 2
"""Of one tenant: each keeps a thread computing, here or behind this gateway, and more of them gain nothing."""
_MOST_DEAR = 16
"""With those that wait for their turn, whose requests may be large."""
_NEWEST_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """What a tenant has at the moment."""

    searches_per_second: float
    """In units, over ten seconds."""
    concurrent_calls: int
    refused_count: int
    """In the last ten seconds."""


class TenantShare:
    """One tenant's part."""

    __slots__ = (
        "bucket",
        "calls_of",
        "dear",
        "dear_in_flight",
        "dear_of",
        "dear_turns",
        "in_flight",
        "mean_seconds",
        "minute",
        "rate",
        "refusals",
    )

    def __init__(self, rate: float, dear_rate: float, now: float) -> None:
        self.bucket = TokenBucket(rate, now)
        self.dear = TokenBucket(dear_rate, now)
        self.dear_turns = FairTurns(_DEAR_AT_ONCE, most_waiting=_MOST_DEAR)
        self.rate = RecentRate(now)
        self.refusals = RecentRate(now)
        self.in_flight = self.dear_in_flight = 0
        self.calls_of: Counter[str] = Counter()
        """Those in flight by caller, of callers who have some; and the dear ones among them."""
        self.dear_of: Counter[str] = Counter()
        self.mean_seconds = _SHORTEST_WAIT_SECONDS
        """How long calls took lately."""
        self.minute = Minute()


class Minute:
    """What is said of a tenant once a minute."""

    __slots__ = ("dear_talkers", "dear_units", "limits", "most_in_flight", "refused", "talkers", "units")

    def __init__(self) -> None:
        self.units = self.dear_units = 0.0
        self.most_in_flight = 0
        self.refused: dict[Limit, int] = {}
        self.talkers = TopTalkers()
        self.dear_talkers = TopTalkers()
        """Of dear calls that were let in."""
        self.limits: TenantLimits | None = None
        """As this gateway keeps them."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that was let in."""

    share: TenantShare
    subject: str
    limits: TenantLimits
    started_at: float
    cost: float
    charged: tuple[TokenBucket, ...]
    is_dear: bool


class TenantShares:
    """The parts of all tenants. Used on the event loop."""

    def __init__(self, clock: Callable[[], float], *, replicas: int, on_refusal: Callable[[Limit], None]) -> None:
        """`clock` is in seconds; limits of rates and calls are divided by the number of `replicas` of this gateway."""
        self._clock = clock
        self.replicas = replicas
        self._on_refusal = on_refusal
        self._shares: OrderedDict[str, TenantShare] = OrderedDict()
        self._callers: OrderedDict[tuple[str, str], TokenBucket] = OrderedDict()
        """Of those who made dear calls."""

    def enter(self, identity: Identity, cost: float, limits: TenantLimits) -> Ticket:
        """Let a call in that costs so many units; it is to `leave`.

        Raises:
            TenantLimit: with what to wait for; nothing was taken then.
        """
        now = self._clock()
        share = self._share(identity.tenant_id, limits, now)
        minute = share.minute
        minute.limits = limits
        minute.talkers.add(identity.subject, cost)
        most = max(limits.concurrent_calls // self.replicas, 1)
        if share.in_flight >= most:
            wait = share.mean_seconds / most
            raise self._refusal(share, Limit.CONCURRENT_CALLS, limits.concurrent_calls, wait)
        if share.calls_of[identity.subject] >= _half(most):
            wait = share.mean_seconds / _half(most)
            raise self._refusal(share, Limit.CONCURRENT_CALLS, limits.concurrent_calls, wait, _WORDS_OF_A_CALLER)
        wait = share.bucket.wait_for(cost, now)
        if wait > 0:
            raise self._refusal(share, Limit.SEARCHES_PER_SECOND, limits.searches_per_second, wait)
        dear = self._charged(identity, share, cost, limits, now) if cost >= DEAR else ()
        share.bucket.take(cost)
        share.rate.add(cost, now)
        share.in_flight += 1
        share.calls_of[identity.subject] += 1
        if cost >= DEAR:
            share.dear_in_flight += 1
            share.dear_of[identity.subject] += 1
            minute.dear_units += cost
            minute.dear_talkers.add(identity.subject, cost)
        minute.units += cost
        minute.most_in_flight = max(minute.most_in_flight, share.in_flight)
        return Ticket(share, identity.subject, limits, now, cost, (share.bucket, *dear), cost >= DEAR)

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait, for so long at most, until a call that was let in may begin: dear calls of a tenant take turns, and so
        do its callers. It is to `end_turn`.

        Raises:
            TenantLimit: if it takes longer; nothing is charged then.
        """
        if not ticket.is_dear:
            return
        try:
            async with asyncio.timeout(seconds):
                await ticket.share.dear_turns.take(ticket.subject)
        except TimeoutError:
            for bucket in ticket.charged:
                bucket.take(-ticket.cost)
            raise self._too_many_dear(ticket.share, ticket.limits) from None

    @staticmethod
    def end_turn(ticket: Ticket) -> None:
        """Let the next one begin."""
        if ticket.is_dear:
            ticket.share.dear_turns.give_back()

    def leave(self, ticket: Ticket, *, was_denied: bool = False) -> None:
        """A call has ended. One that was denied took no more than a plain one, whatever it asked for."""
        share = ticket.share
        if was_denied and ticket.cost > PLAIN:
            for bucket in ticket.charged:
                bucket.take(PLAIN - ticket.cost)
        share.in_flight -= 1
        _one_less(share.calls_of, ticket.subject)
        if ticket.is_dear:
            share.dear_in_flight -= 1
            _one_less(share.dear_of, ticket.subject)
        share.mean_seconds += _NEWEST_WEIGHT * (self._clock() - ticket.started_at - share.mean_seconds)

    def usage(self, tenant_id: str) -> TenantUsage:
        """What a tenant has now."""
        share, now = self._shares.get(tenant_id), self._clock()
        if share is None:
            return TenantUsage(0.0, 0, 0)
        refused = round(share.refusals.per_second(now) * RecentRate.SECONDS)
        return TenantUsage(share.rate.per_second(now), share.in_flight, refused)

    def end_minute(self) -> Iterator[tuple[str, Minute]]:
        """What there is to say of the tenants that made calls in the minute that ends now."""
        for tenant_id, share in tuple(self._shares.items()):
            if share.minute.limits is not None:
                minute, share.minute = share.minute, Minute()
                yield tenant_id, minute

    def _share(self, tenant_id: str, limits: TenantLimits, now: float) -> TenantShare:
        rate = limits.searches_per_second / self.replicas
        share = self._shares.get(tenant_id)
        if share is None:
            share = self._shares[tenant_id] = TenantShare(rate, limits.dear_units_per_second / self.replicas, now)
            if len(self._shares) > _MOST_TENANTS:
                self._shares.popitem(last=False)
        else:
            share.bucket.set_rate(rate)
            self._shares.move_to_end(tenant_id)
        return share

    def _charged(
        self, identity: Identity, share: TenantShare, cost: float, limits: TenantLimits, now: float
    ) -> tuple[TokenBucket, ...]:
        """Charge a dear call to the tenant's dear calls and to its caller."""
        if share.dear_in_flight >= _MOST_DEAR or share.dear_of[identity.subject] >= _half(_MOST_DEAR):
            raise self._too_many_dear(share, limits)
        share.dear.set_rate(limits.dear_units_per_second / self.replicas)
        of_caller = self._bucket_of(identity, limits.caller_units_per_second / self.replicas, now)
        for bucket, limit, value in (
            (share.dear, Limit.DEAR_UNITS_PER_SECOND, limits.dear_units_per_second),
            (of_caller, Limit.CALLER_UNITS_PER_SECOND, limits.caller_units_per_second),
        ):
            wait = bucket.wait_for(cost, now)
            if wait > 0:
                raise self._refusal(share, limit, value, wait)
        for bucket in (share.dear, of_caller):
            bucket.take(cost)
        return share.dear, of_caller

    def _bucket_of(self, identity: Identity, rate: float, now: float) -> TokenBucket:
        key = (identity.tenant_id, identity.subject)
        bucket = self._callers.get(key)
        if bucket is None:
            bucket = self._callers[key] = TokenBucket(rate, now)
            if len(self._callers) > _MOST_CALLERS:
                self._callers.popitem(last=False)
        else:
            bucket.set_rate(rate)
            self._callers.move_to_end(key)
        return bucket

    def _too_many_dear(self, share: TenantShare, limits: TenantLimits) -> TenantLimit:
        value, wait = limits.dear_units_per_second, max(share.mean_seconds, _SHORTEST_WAIT_SECONDS)
        return self._refusal(share, Limit.DEAR_UNITS_PER_SECOND, value, wait, _WORDS_OF_TURNS)

    def _refusal(self, share: TenantShare, limit: Limit, value: float, wait: float, words: str = "") -> TenantLimit:
        share.refusals.add(1, self._clock())
        refused = share.minute.refused
        refused[limit] = refused.get(limit, 0) + 1
        self._on_refusal(limit)
        seconds = (
            min(max(wait, _SHORTEST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS) if limit is Limit.CONCURRENT_CALLS else wait
        )
        return tenant_limit(limit, value, (words or _WORDS[limit]).format(value=f"{value:,g}"), retry_after=seconds)


def _half(places: int) -> int:
    """So many places one caller has at most: nobody stops the others of a tenant. One at least."""
    return (places + 1) // 2


def _one_less(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


_WORDS_OF_A_CALLER = "you have half of the calls in progress that your tenant may ({value}), and one caller has no more"
_WORDS_OF_TURNS = "dear calls of your tenant take turns, and too many are in progress"
_WORDS = {
    Limit.SEARCHES_PER_SECOND: "your tenant has made the {value} searches a second that it may, dear calls counted as "
    "several",
    Limit.CONCURRENT_CALLS: "your tenant has as many calls in progress as it may ({value})",
    Limit.DEAR_UNITS_PER_SECOND: "the dear calls of your tenant take the {value} units a second that they may",
    Limit.CALLER_UNITS_PER_SECOND: "your dear calls take the {value} units a second that they may",
}
