"""What is remembered of the policy service's plans, and what is asked each time."""

from support.gateway_calls import bearer, search
from support.gateway_peers import GatewayWithPeers

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2


async def test_a_listing_is_planned_anew_each_time(gateway: GatewayWithPeers) -> None:
    """No check follows a listing, so a remembered plan would answer without the policy service."""
    for _ in range(2):
        await gateway.stub.ListCollections(
            gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a"), metadata=bearer(gateway)
        )
    assert gateway.policy.calls["PlanAccess"] == 2


async def test_a_search_is_planned_once_and_checked_each_time(gateway: GatewayWithPeers) -> None:
    for _ in range(2):
        await search(gateway)
    assert gateway.policy.calls["PlanAccess"] == 1
    assert gateway.policy.calls["CheckDocuments"] == 2


async def test_an_answer_without_rows_is_checked_too(gateway: GatewayWithPeers) -> None:
    """So that the policy service has a record of every search, and none is answered while it is down."""
    gateway.retrieval.rows = []
    await search(gateway)
    assert gateway.policy.calls["CheckDocuments"] == 1


async def test_a_check_by_another_policy_makes_the_search_be_planned_again(gateway: GatewayWithPeers) -> None:
    """A remembered plan must neither keep a caller from what a new policy allows nor show what it takes away."""
    await search(gateway)
    gateway.policy.version = "v2"
    answer = await search(gateway)
    assert answer.policy_version == "v2"
    assert gateway.policy.calls["PlanAccess"] == 2
    assert gateway.retrieval.grants[-1] == "grant 2"
    await search(gateway)
    assert gateway.policy.calls["PlanAccess"] == 2, "the new plan is remembered"


async def test_policy_replicas_that_differ_cost_one_more_round_and_no_more(gateway: GatewayWithPeers) -> None:
    gateway.policy.checks_by = "v2"
    answer = await search(gateway)
    assert answer.policy_version == "v2"
    assert gateway.policy.calls["PlanAccess"] == 2
    assert gateway.policy.calls["CheckDocuments"] == 2
