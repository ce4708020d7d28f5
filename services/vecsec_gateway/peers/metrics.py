"""What the gateway counts. Label values are bounded: operations, reasons and peers, never tenants or callers."""

import time
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_chassis.domain.errors import Reason
from vecsec_chassis.domain.tenant_limits import Limit
from vecsec_chassis.telemetry.metrics import DurationHistogram, LabelledCounter, observe_value
from vecsec_gateway.peers.contract import MockReason
from vecsec_gateway.peers.shard_peer import ShardPeer
from vecsec_gateway.peers.shards import Shards

OPERATIONS = ("search", "get", "delete", "list", "import")
"""What real retrieval is asked for; imports are streams, which are not timed as one call."""
GATEWAY_LIMITS = (
    Limit.SEARCHES_PER_SECOND,
    Limit.CONCURRENT_CALLS,
    Limit.DEAR_UNITS_PER_SECOND,
    Limit.CALLER_UNITS_PER_SECOND,
)
CIRCUIT_OPEN = "CIRCUIT_OPEN"
"""Why a call failed that was not even tried: to its caller that is no difference."""


class GatewayMetrics:
    """The gateway's instruments; Prometheus sees counters with `_total` and durations with `_seconds`."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._successes = LabelledCounter(
            meter, "vecsec_vector_retrieval_success", "Calls that real retrieval answered.", "operation"
        )
        self._failures = LabelledCounter(
            meter,
            "vecsec_vector_retrieval_failures",
            "Calls that real retrieval failed to answer, after retries or untried (CIRCUIT_OPEN); no refusals.",
            "operation",
            "reason",
        )
        self._duration = DurationHistogram(
            meter, "vecsec_vector_retrieval_duration", "How long real retrieval took, with retries.", "operation"
        )
        self._mocks = LabelledCounter(
            meter, "vecsec_mock_fallback", "Searches answered by the mock, by reason.", "reason"
        )
        self._wrong_shards = LabelledCounter(
            meter,
            "vecsec_wrong_shard",
            "Calls that came to a shard which has not their tenant, and were tried once more at the one that has it.",
        )
        self._policy_retries = LabelledCounter(
            meter, "vecsec_policy_retries", "Calls to the policy service that were tried again."
        )
        self._retrieval_retries = LabelledCounter(
            meter, "vecsec_retrieval_retries", "Calls to the retrieval service that were tried again."
        )
        self._refusals = LabelledCounter(
            meter,
            "vecsec_tenant_limit_refusals",
            "Calls refused for a limit of a tenant or of a caller, by limit; the log has the tenants.",
            "limit",
        )
        self._near_limit = meter.create_gauge(
            "vecsec_tenants_near_limit",
            description="Tenants that in the last minute used 80 % of a limit or were refused for it, by limit.",
        )
        self._export_finished = meter.create_gauge(
            "vecsec_export_finished_timestamp_seconds",
            description="When the newest export was read to its end, in Unix time; absent before the first.",
        )
        # A counter that is not there until the first failure hides that failure from `rate()`.
        for operation in OPERATIONS:
            self._successes.add(0, operation)
            for reason in (Reason.RETRIEVAL_UNAVAILABLE.value, Reason.DEADLINE_EXCEEDED.value, CIRCUIT_OPEN):
                self._failures.add(0, operation, reason)
        for limit in GATEWAY_LIMITS:
            self._refusals.add(0, limit.value)
        self.tenants_near_limit({})
        for mock_reason in MockReason:
            self._mocks.add(0, mock_reason.value)
        self._wrong_shards.add(0)
        self._policy_retries.add(0)
        self._retrieval_retries.add(0)

    def watch_shards(self, shards: Shards) -> None:
        """Show how many circuits are open, and how each shard is."""
        observe_value(
            self._meter,
            "vecsec_circuits_open",
            "For how many tenants retrieval failed repeatedly and is left alone for a while.",
            shards.count_open_circuits,
        )
        self._meter.create_observable_gauge(
            "vecsec_shard_serving",
            callbacks=[_of_each(shards, lambda peer: peer.is_well)],
            description="Whether a shard serves, from one store; without a placement there is one, without a name.",
        )
        self._meter.create_observable_gauge(
            "vecsec_store_not_believed",
            callbacks=[_of_each(shards, lambda peer: bool(peer.store.fault))],
            description="Whether a shard's address is another shard's, or answers from another store than before (1).",
        )
        self._meter.create_observable_gauge(
            "vecsec_shard_circuit_open",
            callbacks=[_of_each(shards, lambda peer: peer.circuit.is_open)],
            description="Whether a shard is left alone for a while, with all its tenants: it is gone, or hangs.",
        )

    def wrong_shard(self) -> None:
        """A call came to a shard that has not its tenant."""
        self._wrong_shards.add(1)

    def retrieval_answered(self, operation: str, seconds: float | None = None) -> None:
        """Real retrieval answered, after so many seconds if it was timed."""
        self._successes.add(1, operation)
        if seconds is not None:
            self._duration.add(seconds, operation)

    def retrieval_failed(self, operation: str, reason: Reason, seconds: float | None = None) -> None:
        """Real retrieval failed, after all retries; DEADLINE_EXCEEDED says that it took too long."""
        self._failures.add(1, operation, reason.value)
        if seconds is not None:
            self._duration.add(seconds, operation)

    def retrieval_skipped(self, operation: str) -> None:
        """A call ended without real retrieval, which was not tried because the circuit is open."""
        self._failures.add(1, operation, CIRCUIT_OPEN)

    def export_finished(self) -> None:
        """An export was read to its end: a backup was made, if whoever asked keeps it."""
        self._export_finished.set(time.time())

    def mocked(self, reason: str) -> None:
        """A search was answered by the mock."""
        self._mocks.add(1, reason)

    def policy_retried(self) -> None:
        """A call to the policy service is tried again."""
        self._policy_retries.add(1)

    def retrieval_retried(self) -> None:
        """A call to the retrieval service is tried again."""
        self._retrieval_retries.add(1)

    def refused_for_limit(self, limit: Limit) -> None:
        """A call was refused for a limit of its tenant or caller."""
        self._refusals.add(1, limit.value)

    def tenants_near_limit(self, counts: Mapping[Limit, int]) -> None:
        """So many tenants were near each limit in the last minute."""
        for limit in GATEWAY_LIMITS:
            self._near_limit.set(counts.get(limit, 0), {"limit": limit.value})


def _of_each(shards: Shards, read: Callable[[ShardPeer], bool]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        for peer in shards.peers:
            yield Observation(int(read(peer)), {"shard": peer.shard.name})

    return observe
