"""A circuit breaker, so that a dead peer costs its callers nothing.

purgatory, the library at hand, was tried and found wanting (3.0): a caller who hangs up counts as a failure of the
peer, so that three of them open the circuit for everyone; when the circuit is half open, everyone is let through
instead of one; and it reads the wall clock. It knows no outcome that says nothing about the peer.
"""

from collections.abc import Callable
from enum import Enum
from functools import partial
from types import TracebackType

import structlog
from cachetools import LRUCache

from vecsec_gateway.peers.contract import CircuitOpen

log = structlog.get_logger()


class AttemptOutcome(Enum):
    """What an attempt says about the peer's health."""

    HEALTHY = "healthy"
    FAILED = "failed"
    UNKNOWN = "unknown"


class CircuitBreaker:
    """Closed, it counts failures in a row; open, it refuses; after a while it lets one attempt through to find out."""

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        *,
        threshold: int,
        open_seconds: float,
        kind: str = "tenant_id",
    ) -> None:
        """`threshold` failures in a row open the circuit for `open_seconds`; `clock` is in seconds. The log has the
        name as this kind."""
        self._told = {kind: name}
        self._clock = clock
        self._threshold = threshold
        self._open_seconds = open_seconds
        self._failures = 0
        self._opened_at: float | None = None
        self._is_probing = False
        self._epoch = 0

    @property
    def is_open(self) -> bool:
        """Whether attempts are refused, but for the one that probes."""
        return self._opened_at is not None

    def open(self) -> None:
        """Refuse from now on: that the peer is not well is known without an attempt."""
        if self._opened_at is None:
            self._open()
        else:
            self._opened_at = self._clock()

    def close(self) -> None:
        """Let everybody through again: that the peer is well is known without an attempt."""
        was_open, self._failures = self.is_open, 0
        self._opened_at, self._is_probing = None, False
        self._epoch += 1
        if was_open:
            log.info("circuit closed, retrieval is asked again", **self._told)

    def attempt(self, judge: Callable[[BaseException], AttemptOutcome]) -> "_Attempt":
        """A context for one attempt at the peer; `judge` says what an error of it means.

        Raises:
            CircuitOpen: on entering it, with the time after which it makes sense to come back.
        """
        return _Attempt(self, judge)

    def admit(self) -> int:
        """Let an attempt begin; in which epoch of the circuit it does.

        Raises:
            CircuitOpen: as `attempt` says.
        """
        if self._opened_at is not None:
            wait = self._opened_at + self._open_seconds - self._clock()
            if wait > 0 or self._is_probing:
                raise CircuitOpen(
                    "retrieval failed repeatedly a moment ago and is left alone for a while; try again later",
                    retry_after=max(wait, 0.1),
                )
            self._is_probing = True
            self._epoch += 1
        return self._epoch

    def record(self, outcome: AttemptOutcome, epoch: int) -> None:
        """How an attempt of this epoch ended; if the circuit has changed since, what began before it is no news."""
        if epoch != self._epoch:
            return
        was_probe, self._is_probing = self._is_probing, False
        if outcome is AttemptOutcome.HEALTHY:
            self._failures = 0
            if was_probe:
                self._opened_at = None
                self._epoch += 1
                log.info("circuit closed, retrieval is asked again", **self._told)
        elif outcome is AttemptOutcome.FAILED:
            self._failures += 1
            if was_probe or self._failures >= self._threshold:
                self._open()

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._epoch += 1
        log.warning("circuit opened, retrieval is left alone", **self._told, seconds=self._open_seconds)


class _Attempt:
    """Written out, for context managers made of generators cost 10 µs a call and more."""

    __slots__ = ("_circuit", "_epoch", "_judge")

    def __init__(self, circuit: CircuitBreaker, judge: Callable[[BaseException], AttemptOutcome]) -> None:
        self._circuit = circuit
        self._judge = judge

    def __enter__(self) -> None:
        self._epoch = self._circuit.admit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        outcome = AttemptOutcome.UNKNOWN
        try:
            outcome = AttemptOutcome.HEALTHY if error is None else self._judge(error)
        finally:
            self._circuit.record(outcome, self._epoch)


class CircuitBreakers:
    """One circuit a tenant, so that a tenant whose searches time out does not shut retrieval for the others."""

    def __init__(
        self, clock: Callable[[], float], *, threshold: int, open_seconds: float, maximum: int = 10_000
    ) -> None:
        """As `CircuitBreaker`. Of more than `maximum` tenants those heard from least recently start anew with a closed
        circuit."""
        self._make = partial(CircuitBreaker, clock=clock, threshold=threshold, open_seconds=open_seconds)
        self._of_tenant: LRUCache[str, CircuitBreaker] = LRUCache(maxsize=maximum)

    def of(self, tenant_id: str) -> CircuitBreaker:
        """The tenant's circuit."""
        circuit = self._of_tenant.get(tenant_id)
        if circuit is None:
            circuit = self._of_tenant[tenant_id] = self._make(tenant_id)
        return circuit

    def close_all(self) -> None:
        """Close every circuit: the peer is well again."""
        for circuit in list(self._of_tenant.values()):
            if circuit.is_open:
                circuit.close()

    def count_open(self) -> int:
        """For how many tenants retrieval is left alone."""
        return sum(circuit.is_open for circuit in list(self._of_tenant.values()))
