"""Shows which policy versions decide, since when, and how their engines' caches are used.

By comparing versions over replicas one that lags behind is seen.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_chassis.telemetry.metrics import CacheCounter, CacheUse
from vecsec_policy.in_force.snapshot import PolicyInForce, PolicySnapshot


def observe_versions(meter: Meter, policy: PolicyInForce) -> None:
    """Gauges with a series for the current policy, and one for the candidate while there is one."""

    def info(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(1, {"stage": stage, "version": each.version}) for stage, each in _stages(policy)]

    def loaded(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(each.loaded_at, {"stage": stage}) for stage, each in _stages(policy)]

    meter.create_observable_gauge(
        "vecsec_policy_info",
        callbacks=[info],
        description="1, by stage (current or candidate) and version (content hash).",
    )
    meter.create_observable_gauge(
        "vecsec_policy_loaded_timestamp",
        callbacks=[loaded],
        unit="s",
        description="When the policy was loaded, in Unix time, by stage.",
    )
    _observe_memberships(meter, policy)


def _observe_memberships(meter: Meter, policy: PolicyInForce) -> None:
    """How many people and groups the current policy's `memberships.yaml` lists, and when it was written: so it is seen
    whether what exports it from a directory still runs."""

    def count(_options: CallbackOptions) -> Iterable[Observation]:
        listed = policy.assignment.current.memberships
        yield Observation(len(listed.of_people), {"kind": "people"})
        yield Observation(len(listed.of_each_group), {"kind": "groups"})

    def changed(_options: CallbackOptions) -> Iterable[Observation]:
        changed_at = policy.assignment.current.memberships.changed_at
        return [] if changed_at is None else [Observation(changed_at)]

    meter.create_observable_gauge(
        "vecsec_memberships",
        callbacks=[count],
        description="People, and groups with people, that the memberships file in force lists, by kind.",
    )
    meter.create_observable_gauge(
        "vecsec_memberships_changed_timestamp",
        callbacks=[changed],
        unit="s",
        description="When the memberships file in force was written, in Unix time; absent without one.",
    )


def engine_caches(policy: PolicyInForce) -> Mapping[str, Callable[[], CacheUse]]:
    """How each cache is used, by its name in metrics; a new policy's engine counts from 0."""
    return {name: partial(_use, policy, name) for name in policy.assignment.current.engine.lookups}


def _use(policy: PolicyInForce, name: str) -> CacheUse:
    uses = [snapshot.engine.lookups[name] for _, snapshot in _stages(policy)]
    return CacheCounter(sum(use.hits for use in uses), sum(use.misses for use in uses))


def _stages(policy: PolicyInForce) -> Iterator[tuple[str, PolicySnapshot]]:
    assignment = policy.assignment
    yield "current", assignment.current
    if assignment.candidate is not None:
        yield "candidate", assignment.candidate.policy
