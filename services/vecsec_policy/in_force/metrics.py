"""Shows which policy versions decide, since when, and how their engines' caches are used.

By comparing versions over replicas one that lags behind is seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_chassis.telemetry.metrics import CacheCounter, CacheUse
from vecsec_policy.in_force.snapshot import PolicyInForce, PolicySnapshot


class VersionMetrics:
    """Gauges with a series for the current policy, and one for the candidate while there is one."""

    def __init__(self, meter: Meter, policy: PolicyInForce) -> None:
        self._policy = policy
        meter.create_observable_gauge(
            "vecsec_policy_info",
            callbacks=[self._info],
            description="1, by stage (current or candidate) and version (content hash).",
        )
        meter.create_observable_gauge(
            "vecsec_policy_loaded_timestamp",
            callbacks=[self._loaded],
            unit="s",
            description="When the policy was loaded, in Unix time, by stage.",
        )

    def _stages(self) -> Iterator[tuple[str, PolicySnapshot]]:
        assignment = self._policy.assignment
        yield "current", assignment.current
        if assignment.candidate is not None:
            yield "candidate", assignment.candidate.policy

    def _info(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(1, {"stage": stage, "version": policy.version}) for stage, policy in self._stages()]

    def _loaded(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(policy.loaded_at, {"stage": stage}) for stage, policy in self._stages()]


def engine_caches(policy: PolicyInForce) -> Mapping[str, Callable[[], CacheUse]]:
    """How each cache is used, by its name in metrics; a new policy's engine counts from 0."""
    return {name: partial(_use, policy, name) for name in policy.assignment.current.engine.lookups}


def _use(policy: PolicyInForce, name: str) -> CacheUse:
    assignment = policy.assignment
    deciding = [assignment.current, *([assignment.candidate.policy] if assignment.candidate else [])]
    uses = [snapshot.engine.lookups[name] for snapshot in deciding]
    return CacheCounter(sum(use.hits for use in uses), sum(use.misses for use in uses))
