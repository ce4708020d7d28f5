"""What became of changed files: told once, counted, and shown by a metric and the health service."""

from enum import StrEnum

import structlog

from vecsec_chassis.rpc.server import Health
from vecsec_policy.metrics import PolicyMetrics

log = structlog.get_logger()

RELOAD = "vecsec.policy.reload"
"""The name under which the health service says whether every changed file could be taken."""


class ReloadedPart(StrEnum):
    """What is taken anew when its files change."""

    POLICY = "policy"
    ROLLOUT = "rollout"
    CANDIDATE = "candidate"
    GRANT_KEY = "grant_key"


class ReloadResult(StrEnum):
    """What became of a change."""

    ADOPTED = "adopted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class ReloadReport:
    """Where changes of files are reported. The service itself goes on serving with what it has."""

    def __init__(self, metrics: PolicyMetrics) -> None:
        self._metrics = metrics
        self._complaints: dict[ReloadedPart, str] = {}
        for part in ReloadedPart:
            for result in ReloadResult:
                metrics.reloads.add(0, part, result)
            metrics.reload_failing(part, is_failing=False)

    @property
    def is_failing(self) -> bool:
        """Whether some files are not in force because something is wrong with them."""
        return bool(self._complaints)

    def taken(self, part: ReloadedPart, result: ReloadResult, **details: object) -> None:
        """A change that is in force now, or that changed nothing."""
        self._metrics.reloads.add(1, part, result)
        self._metrics.reload_failing(part, is_failing=False)
        if result is ReloadResult.ADOPTED or part in self._complaints:
            log.info("files taken anew", part=part.value, result=result.value, **details)
        self._complaints.pop(part, None)

    def refused(self, part: ReloadedPart, complaint: str) -> None:
        """A change that cannot be in force; what was before stays. The same complaint is told once."""
        self._metrics.reloads.add(1, part, ReloadResult.REFUSED)
        self._metrics.reload_failing(part, is_failing=True)
        if self._complaints.get(part) != complaint:
            log.error("changed files refused, what was in force stays", part=part.value, reason=complaint)
        self._complaints[part] = complaint

    async def show(self, health: Health) -> None:
        """Bring the health entry up to date."""
        await health.set_serving(not self._complaints, RELOAD)
