"""An audit log with decisions that the service's own use case made and recorded."""

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider

from vecsec_chassis.domain.access import Action, Identity
from vecsec_chassis.domain.errors import AccessDenied
from vecsec_chassis.domain.labels import Label, Sensitivity
from vecsec_policy.audit.log import AuditLog, LogSettings
from vecsec_policy.audit.records import AuditRecord, Record
from vecsec_policy.in_force.snapshot import PolicyAssignment, PolicyInForce, load_snapshot
from vecsec_policy.metrics import PolicyMetrics
from vecsec_policy.settings import PACKAGED_POLICY
from vecsec_policy.shadow.counts import ShadowCounts
from vecsec_policy.shadow.shadow import ShadowEvaluator
from vecsec_policy.use_cases.decisions import EntryGate, RowChecker


@dataclass
class Recorded:
    """A log that grows."""

    path: Path
    incidents: list[str] = field(default_factory=list)

    def append(self, record: Record) -> None:
        assert isinstance(record, AuditRecord)
        self.incidents.append(record.incident_id)
        with contextlib.closing(AuditLog(LogSettings(self.path))) as log:
            log.add(record.to_json())
            log.write()

    def check(
        self,
        role: str,
        *rows: tuple[str, str],
        tenant_id: str = "tenant_a",
        actors: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        readers: tuple[str, ...] = (),
    ) -> str:
        """Have rows (sensitivity, topic), which may name readers, checked for a caller of tenant_a; the incident id."""
        meter = MeterProvider().get_meter("test")
        metrics = PolicyMetrics(meter)
        policy = PolicyInForce(PolicyAssignment(load_snapshot(PACKAGED_POLICY)))
        shadow = ShadowEvaluator(policy, self.append, ShadowCounts(meter))
        checker = RowChecker(EntryGate(policy, metrics, self.append), metrics, shadow)
        identity = Identity("alice", "tenant_a", role, Sensitivity.SECRET, "issuer", 0.0, groups, actors=actors)
        attributes = (("readers", frozenset(readers)),) if readers else ()
        labels = Counter(Label(tenant_id, Sensitivity[level], frozenset({topic}), attributes) for level, topic in rows)
        with contextlib.suppress(AccessDenied):  # recorded, too
            asyncio.run(checker.check(identity, tenant_id, Action.READ, labels, planned_policy_version=""))
        return self.incidents[-1]
