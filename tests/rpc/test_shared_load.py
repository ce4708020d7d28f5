"""More replicas share one load: two gateways behind the SDK, and behind each of them the same two policy services."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

from support.stack import SEARCH_SECONDS, Stack, document, running_stack
from support.waiting import PATIENCE_SECONDS, until

from vecsec_chassis.rpc.server import RunningService
from vecsec_client import AsyncVecSecClient
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings

SEARCHES = 'vecsec_requests_total{code="OK",method="SearchDocuments"}'
PLANS = 'vecsec_requests_total{code="OK",method="PlanAccess"}'
CHECKS = 'vecsec_requests_total{code="OK",method="CheckDocuments"}'
ROUNDS, CALLERS = 50, 8


def addresses(services: Sequence[RunningService]) -> str:
    return "ipv4:" + ",".join(f"127.0.0.1:{each.port}" for each in services)


def policy(stack: Stack, number: int) -> AbstractAsyncContextManager[RunningService]:
    """A policy service with the stack's keys and rules, and an audit log of its own."""
    return running_policy(
        PolicySettings.model_validate(
            {
                "VECSEC_POLICY_PORT": 0,
                "VECSEC_POLICY_METRICS_PORT": 0,
                "VECSEC_POLICY_DIR": stack.policy_folder,
                "VECSEC_GRANT_KEY_FILE": stack.issuer.grant_key_file,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_REPLICA_ID": f"policy-{number}",
                "VECSEC_AUDIT_FILE": stack.folder / f"policy-{number}" / "audit.jsonl",
            }
        )
    )


def gateway(stack: Stack, policies: Sequence[RunningService]) -> AbstractAsyncContextManager[RunningService]:
    """A gateway before these policy services, which remembers no plans, so that each search asks for one."""
    return running_gateway(
        GatewaySettings.model_validate(
            {
                "VECSEC_GATEWAY_PORT": 0,
                "VECSEC_GATEWAY_METRICS_PORT": 0,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_POLICY_ADDRESS": addresses(policies),
                "VECSEC_RETRIEVAL_ADDRESS": f"localhost:{stack.retrieval_service.port}",
                "VECSEC_PLAN_MEMORY_SECONDS": 0,
                "VECSEC_POLICY_TIMEOUT_SECONDS": SEARCH_SECONDS,
                "VECSEC_RETRIEVAL_TIMEOUT_SECONDS": SEARCH_SECONDS,
            }
        )
    )


async def test_two_gateways_and_two_policy_services_share_the_load_of_one_client(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack, AsyncExitStack() as exits:
        await stack.load("tenant_a", document("plan", "the plan"))
        policies = [await exits.enter_async_context(policy(stack, number)) for number in range(2)]
        gateways = [await exits.enter_async_context(gateway(stack, policies)) for _ in range(2)]
        client = await exits.enter_async_context(
            AsyncVecSecClient(
                addresses(gateways), token=stack.issuer.token(), default_tenant="tenant_a", plaintext=True
            )
        )

        searches = 0

        async def search(times: int) -> None:
            nonlocal searches
            for _ in range(times):
                answer = await client.search("plan", timeout=SEARCH_SECONDS)
                assert [result.document_id for result in answer.results] == ["plan"]
                searches += 1

        def served(series: str, services: Sequence[RunningService]) -> list[float]:
            return [stack.metrics(each).get(series, 0) for each in services]

        async with asyncio.timeout(PATIENCE_SECONDS):  # until every connection and every lane is there
            while not all(served(SEARCHES, gateways) + served(PLANS, policies) + served(CHECKS, policies)):
                await search(5)
        kinds = ((SEARCHES, gateways), (PLANS, policies), (CHECKS, policies))

        async def until_counted() -> None:
            """A call is counted after its answer has left."""
            await until(lambda: all(sum(served(*kind)) >= searches for kind in kinds))

        await until_counted()
        before = [served(*kind) for kind in kinds]
        await asyncio.gather(*(search(ROUNDS) for _ in range(CALLERS)))
        await until_counted()
        for kind, was in zip(kinds, before, strict=True):
            shares = [(now - then) / (ROUNDS * CALLERS) for now, then in zip(served(*kind), was, strict=True)]
            assert sum(shares) == 1, "each search asked once, and nobody else served it"
            assert min(shares) > 0.25, f"{kind[0]} is shared unevenly: {shares}"
