"""Ways in which a peer can fail that callers need not tell apart, but retries, the circuit and the mock do."""

from vecsec_chassis.errors import PolicyUnavailable, RetrievalUnavailable


class PolicyTimedOut(PolicyUnavailable):
    """The policy service did not answer in time."""


class RetrievalTimedOut(RetrievalUnavailable):
    """Retrieval did not answer in time."""


class CircuitOpen(RetrievalUnavailable):
    """Retrieval failed repeatedly a moment ago, and is left alone for a while."""
