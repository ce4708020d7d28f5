"""A suspected leak: `vecsec panic` against live services. THREATS 13 (grants in other hands), 17 (the mock)."""

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc
from support.refusals import refusal
from support.stack import Stack, document
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import query_pb2

SENTINEL = "the merger with Umbrella is signed"


def search_with(grant: str) -> retrieval_service_pb2.SearchDocumentsRequest:
    return retrieval_service_pb2.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="plans"), k=1)


async def panic(stack: Stack, *arguments: str) -> dict[str, object]:
    tenant = arguments[arguments.index("--tenant") + 1] if "--tenant" in arguments else "tenant_a"
    environment = {
        "VECSEC_STATE_DIR": str(stack.folder),
        "VECSEC_POLICY_PORT": str(stack.policy_service.port),
        "VECSEC_RETRIEVAL_PORT": str(stack.retrieval_service.port),
        "VECSEC_TOKEN": stack.issuer.token(tenant, "admin", "SECRET", "operator"),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from vecsec_workbench.leak_response.app import app; app()", *arguments, "--json"),
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    told: dict[str, object] = json.loads(output)
    return told


async def test_threat_13_a_panic_stops_one_tenants_rows_and_every_old_grant_and_fails_no_other_call(
    stack: Stack,
) -> None:
    await stack.load("tenant_a", document("a", SENTINEL, "PUBLIC"))
    await stack.load("tenant_b", document("b", "plans", "PUBLIC"))
    alice, bob = stack.issuer.token("tenant_a"), stack.issuer.token("tenant_b", subject="bob")
    old = [await stack.grant(alice, "tenant_a"), await stack.grant(bob, "tenant_b")]
    for grant in old:
        await stack.retrieval.SearchDocuments(search_with(grant))  # accepted, and so remembered
    done, others = asyncio.Event(), list[list[str]]()

    async def search_on() -> None:
        while not done.is_set():
            others.append(await stack.ids(bob, "tenant_b"))

    searching = asyncio.create_task(search_on())
    told = await panic(stack, "--tenant", "tenant_a")
    for grant in old:
        assert (await refusal(stack.retrieval.SearchDocuments(search_with(grant)))).code is (
            grpc.StatusCode.UNAUTHENTICATED
        )
    fresh = await stack.grant(alice, "tenant_a")
    assert (await refusal(stack.retrieval.SearchDocuments(search_with(fresh)))).reason == "REAL_RETRIEVAL_OFF"
    answer = await stack.search(alice, "tenant_a", fallback=gateway_service_pb2.FALLBACK_MOCK)
    assert answer.mock_reason == gateway_service_pb2.MOCK_REASON_FLAG_OFF
    done.set()
    await searching
    assert others == [["b"]] * len(others), "the other tenant notices nothing"

    evidence = b"".join(file.read_bytes() for file in Path(str(told["evidence"])).rglob("*") if file.is_file())
    for secret in (SENTINEL.encode(), b"PRIVATE KEY", alice.encode(), fresh.encode(), old[0].encode()):
        assert secret not in evidence

    await panic(stack, "--release", "--tenant", "tenant_a")

    async def is_back() -> bool:
        try:
            return await stack.ids(alice, "tenant_a") == ["a"]
        except grpc.aio.AioRpcError:
            return False

    await until(is_back)


async def test_threat_17_after_a_panic_for_all_only_who_was_released_gets_real_rows(stack: Stack) -> None:
    for tenant in ("tenant_a", "tenant_b"):
        await stack.load(tenant, document("row", "plans", "PUBLIC"))
    await panic(stack, "--all")
    await panic(stack, "--release", "--tenant", "tenant_b")
    bob = stack.issuer.token("tenant_b", subject="bob")

    async def has_real_rows() -> bool:
        return not (await stack.search(bob, "tenant_b", fallback=gateway_service_pb2.FALLBACK_MOCK)).mock_reason

    await until(has_real_rows)
    refused = await refusal(stack.search(stack.issuer.token("tenant_a"), "tenant_a"))
    assert refused.reason == "REAL_RETRIEVAL_OFF"
