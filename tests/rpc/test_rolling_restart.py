"""Replicas behind one address: they share the load, and are restarted one by one under it without a failed search."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import grpc
import pytest
from support.installation import free_ports
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import PATIENCE_SECONDS, until

from vecsec.gateway.v1 import gateway_service_pb2, gateway_service_pb2_grpc
from vecsec.type.v1 import query_pb2
from vecsec_chassis.rpc.server import RunningService
from vecsec_gateway.app import running_gateway
from vecsec_gateway.settings import GatewaySettings
from vecsec_gateway.transport import lane_channel
from vecsec_policy.app import running_policy
from vecsec_policy.settings import PolicySettings

PLANS = 'vecsec_requests_total{code="OK",method="PlanAccess"}'


def policy_replica(stack: Stack, number: int, port: int) -> AbstractAsyncContextManager[RunningService]:
    """A policy service beside that of the stack, with the same keys and rules."""
    return running_policy(
        PolicySettings.model_validate(
            {
                "VECSEC_POLICY_PORT": port,
                "VECSEC_POLICY_METRICS_PORT": 0,
                "VECSEC_POLICY_DIR": stack.policy_folder,
                "VECSEC_GRANT_KEY_FILE": stack.issuer.grant_key_file,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_REPLICA_ID": f"replica-{number}",
                "VECSEC_AUDIT_FILE": stack.folder / f"replica-{number}" / "audit.jsonl",
            }
        )
    )


def gateway_before(stack: Stack, policies: list[RunningService]) -> AbstractAsyncContextManager[RunningService]:
    """A gateway that asks these replicas, and remembers no plans, so that each search asks one."""
    addresses = ",".join(f"127.0.0.1:{each.port}" for each in policies)
    return running_gateway(
        GatewaySettings.model_validate(
            {
                "VECSEC_GATEWAY_PORT": 0,
                "VECSEC_GATEWAY_METRICS_PORT": 0,
                "VECSEC_ISSUERS_FILE": stack.issuer.issuers_file,
                "VECSEC_POLICY_ADDRESS": f"ipv4:{addresses}",
                "VECSEC_RETRIEVAL_ADDRESS": f"localhost:{stack.retrieval_service.port}",
                "VECSEC_PLAN_MEMORY_SECONDS": 0,
                "VECSEC_POLICY_TIMEOUT_SECONDS": SEARCH_SECONDS,
                "VECSEC_RETRIEVAL_TIMEOUT_SECONDS": SEARCH_SECONDS,
            }
        )
    )


async def test_policy_replicas_share_the_load_and_are_restarted_under_it_without_a_failed_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_channel, "_LIFE_SECONDS", (0.5, 1.0))  # so that a replica gets its share again soon
    async with running_stack(tmp_path) as stack, AsyncExitStack() as exits:
        await stack.load("tenant_a", document("plan", "the plan"))
        lives = [AsyncExitStack(), AsyncExitStack()]
        ports = free_ports(2)
        replicas = [
            await life.enter_async_context(policy_replica(stack, number, ports[number]))
            for number, life in enumerate(lives)
        ]
        gateway = await exits.enter_async_context(gateway_before(stack, replicas))
        channel = await exits.enter_async_context(grpc.aio.insecure_channel(f"localhost:{gateway.port}"))
        stub = gateway_service_pb2_grpc.GatewayServiceStub(channel)
        request = gateway_service_pb2.SearchDocumentsRequest(
            tenant_id="tenant_a",
            query=query_pb2.Query(text="plan"),
            k=5,
            fallback=gateway_service_pb2.FALLBACK_NONE,
        )
        metadata, done = bearer(stack.issuer.token()), asyncio.Event()
        answers: list[int] = []

        async def search_on() -> None:
            while not done.is_set():
                answer = await stub.SearchDocuments(request, metadata=metadata, timeout=SEARCH_SECONDS)
                answers.append(len(answer.results))

        async def more(count: int) -> None:
            target = len(answers) + count

            def are_there() -> bool:
                assert not any(each.done() for each in searchers), "a search failed"
                return len(answers) >= target

            await until(are_there)

        searchers = [asyncio.create_task(search_on()) for _ in range(3)]
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            await more(50)
            while any(stack.metrics(each).get(PLANS, 0) < 5 for each in replicas):  # until both are connected
                await more(10)
            for number, life in enumerate(lives):
                await life.aclose()
                await more(50)
                lives[number] = AsyncExitStack()
                again = policy_replica(stack, number, ports[number])
                replicas[number] = await lives[number].enter_async_context(again)
                while stack.metrics(replicas[number]).get(PLANS, 0) < 5:  # until it has its share again
                    await more(10)
        done.set()
        await asyncio.gather(*searchers)
        assert set(answers) == {1}
        for life in lives:
            await life.aclose()
