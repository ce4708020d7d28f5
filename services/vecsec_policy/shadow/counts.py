"""What the candidate in the shadow would have decided otherwise: as metrics, and tenant by tenant."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from enum import StrEnum

from opentelemetry.metrics import Meter

from vecsec_chassis.telemetry.metrics import LabelledCounter


class ShadowQuestion(StrEnum):
    """What both policies were asked."""

    ENTRY = "entry"
    ROW = "row"


class ShadowChange(StrEnum):
    """What the candidate would change."""

    GAINED = "gained"
    LOST = "lost"


class ShadowCounts:
    """Counts since the candidate in the shadow was loaded."""

    def __init__(self, meter: Meter) -> None:
        self.comparisons = LabelledCounter(
            meter, "vecsec_policy_shadow_comparisons", "Decisions that the candidate made too, by kind.", "kind"
        )
        self._disagreements = LabelledCounter(
            meter,
            "vecsec_policy_shadow_disagreements",
            "Decisions that the candidate would have made otherwise, by kind and by what the caller would notice.",
            "kind",
            "change",
        )
        self.dropped = LabelledCounter(
            meter, "vecsec_policy_shadow_dropped", "Calls that the candidate did not decide, for want of time."
        )
        self.failures = LabelledCounter(
            meter, "vecsec_policy_shadow_failures", "Calls that the candidate failed to decide."
        )
        for question in ShadowQuestion:
            self.comparisons.add(0, question.value)
            for change in ShadowChange:
                self._disagreements.add(0, question.value, change.value)
        for counter in (self.dropped, self.failures):
            counter.add(0)
        self._version = ""
        self._tenants: defaultdict[str, Counter[tuple[ShadowQuestion, ShadowChange]]] = defaultdict(Counter)

    def disagreed(self, version: str, tenant_id: str, question: ShadowQuestion, change: ShadowChange) -> None:
        """A decision about a listed tenant that a candidate of this version would have made otherwise."""
        self._disagreements.add(1, question.value, change.value)
        if version != self._version:
            self._version = version
            self._tenants.clear()
        self._tenants[tenant_id][question, change] += 1

    def of_tenant(self, version: str, tenant_id: str) -> Mapping[tuple[ShadowQuestion, ShadowChange], int]:
        """The disagreements about one tenant with the candidate of this version."""
        booked = self._tenants.get(tenant_id, Counter()) if version == self._version else Counter()
        return {(question, change): booked[question, change] for question in ShadowQuestion for change in ShadowChange}
