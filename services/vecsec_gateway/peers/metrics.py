"""What the gateway counts. Label values are bounded: operations, reasons and peers, never tenants or callers."""

from opentelemetry.metrics import Meter

from vecsec_chassis.domain.errors import Reason
from vecsec_chassis.telemetry.metrics import DurationHistogram, LabelledCounter, observe_value
from vecsec_gateway.peers.circuit_breaker import CircuitBreakers
from vecsec_gateway.peers.contract import MockReason

OPERATIONS = ("search", "get", "delete", "list", "import")
"""What real retrieval is asked for; imports are streams, which are not timed as one call."""
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
        self._policy_retries = LabelledCounter(
            meter, "vecsec_policy_retries", "Calls to the policy service that were tried again."
        )
        self._retrieval_retries = LabelledCounter(
            meter, "vecsec_retrieval_retries", "Calls to the retrieval service that were tried again."
        )
        # A counter that is not there until the first failure hides that failure from `rate()`.
        for operation in OPERATIONS:
            self._successes.add(0, operation)
            for reason in (Reason.RETRIEVAL_UNAVAILABLE.value, Reason.DEADLINE_EXCEEDED.value, CIRCUIT_OPEN):
                self._failures.add(0, operation, reason)
        for mock_reason in MockReason:
            self._mocks.add(0, mock_reason.value)
        self._policy_retries.add(0)
        self._retrieval_retries.add(0)

    def watch_circuits(self, circuits: CircuitBreakers) -> None:
        """Show how many circuits are open."""
        observe_value(
            self._meter,
            "vecsec_circuits_open",
            "For how many tenants retrieval failed repeatedly and is left alone for a while.",
            circuits.count_open,
        )

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

    def mocked(self, reason: str) -> None:
        """A search was answered by the mock."""
        self._mocks.add(1, reason)

    def policy_retried(self) -> None:
        """A call to the policy service is tried again."""
        self._policy_retries.add(1)

    def retrieval_retried(self) -> None:
        """A call to the retrieval service is tried again."""
        self._retrieval_retries.add(1)
