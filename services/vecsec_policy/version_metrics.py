"""Shows which policy versions decide, and since when: by comparing these over replicas one that lags behind is seen."""

from collections.abc import Iterable, Iterator

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_policy.snapshot import PolicyInForce, PolicySnapshot


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
        arrangement = self._policy.arrangement
        yield "current", arrangement.current
        if arrangement.candidate is not None:
            yield "candidate", arrangement.candidate.policy

    def _info(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(1, {"stage": stage, "version": policy.version}) for stage, policy in self._stages()]

    def _loaded(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(policy.loaded_at, {"stage": stage}) for stage, policy in self._stages()]
