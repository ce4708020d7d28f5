"""How the caches of the engines that decide are used: the current policy's, and the candidate's while there is one."""

from collections.abc import Callable, Mapping
from functools import partial

from vecsec_chassis.cache_metrics import CacheUse, Lookups
from vecsec_policy.snapshot import PolicyInForce


def engine_caches(policy: PolicyInForce) -> Mapping[str, Callable[[], CacheUse]]:
    """How each cache is used, by its name in metrics; a new policy's engine counts from 0."""
    return {name: partial(_use, policy, name) for name in policy.arrangement.current.engine.lookups}


def _use(policy: PolicyInForce, name: str) -> CacheUse:
    arrangement = policy.arrangement
    deciding = [arrangement.current, *([arrangement.candidate.policy] if arrangement.candidate else [])]
    uses = [snapshot.engine.lookups[name] for snapshot in deciding]
    return Lookups(sum(use.hits for use in uses), sum(use.misses for use in uses))
