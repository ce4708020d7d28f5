"""A plan is remembered for its very caller, tenant and action, for seconds, and never until its grant ends."""

import pytest

from vecsec_chassis.domain.access import Action
from vecsec_gateway.peers.contract import Plan
from vecsec_gateway.use_cases.planning import PlanCache, PlanKey

PLAN = Plan(tenant_id="tenant_a", grant="g", lifetime=60.0, policy_version="v1", topics=())
KEY = PlanKey.of("token", "tenant_a", Action.READ)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plans(clock: Clock) -> PlanCache:
    return PlanCache(clock, seconds=5)


@pytest.mark.parametrize(
    "other",
    [
        PlanKey.of("another token", "tenant_a", Action.READ),
        PlanKey.of("token", "tenant_b", Action.READ),
        PlanKey.of("token", "tenant_a", Action.DELETE),
    ],
)
def test_another_token_tenant_or_action_finds_nothing(plans: PlanCache, other: PlanKey) -> None:
    plans.keep(KEY, PLAN)
    assert plans.find(KEY) is PLAN
    assert plans.find(other) is None


def test_a_plan_is_forgotten_after_its_time(plans: PlanCache, clock: Clock) -> None:
    plans.keep(KEY, PLAN)
    clock.now += 4.9
    assert plans.find(KEY) is PLAN
    clock.now += 0.2
    assert plans.find(KEY) is None


def test_a_short_grant_is_not_used_to_its_end(plans: PlanCache, clock: Clock) -> None:
    plans.keep(KEY, Plan(tenant_id="tenant_a", grant="g", lifetime=4.0, policy_version="v1", topics=()))
    clock.now += 2.1
    assert plans.find(KEY) is None


def test_what_is_left_of_a_grant_lasts_for_a_call(clock: Clock) -> None:
    plans = PlanCache(clock, seconds=600)
    plans.keep(KEY, PLAN)
    clock.now += PLAN.lifetime - 5.1
    assert plans.find(KEY) is PLAN
    clock.now += 0.2
    assert plans.find(KEY) is None


@pytest.mark.parametrize("action", [Action.WRITE, Action.DELETE, Action.CONFIGURE])
def test_only_plans_to_read_are_remembered(plans: PlanCache, action: Action) -> None:
    key = PlanKey.of("token", "tenant_a", action)
    plans.keep(key, PLAN)
    assert plans.find(key) is None


def test_a_forgotten_plan_is_gone_and_zero_seconds_remember_nothing(plans: PlanCache, clock: Clock) -> None:
    plans.keep(KEY, PLAN)
    plans.forget(KEY)
    assert plans.find(KEY) is None
    none = PlanCache(clock, seconds=0)
    none.keep(KEY, PLAN)
    assert none.find(KEY) is None
