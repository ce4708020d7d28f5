"""What services remember: whose it is, when it is forgotten, that it is counted. THREATS 10 (caches), 12 (metrics)."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.refusals import refusal
from support.stack import Stack, bearer, document, running_stack
from support.waiting import PATIENCE_SECONDS, until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import query_pb2
from vecsec_chassis.rpc.server import RunningService

SERIES = re.compile(r'vecsec_cache_requests_total\{cache="([a-z_]+)",result="(hit|miss)"\}')


def caches(stack: Stack, service: RunningService) -> dict[str, dict[str, float]]:
    """Look-ups by cache and result."""
    uses: dict[str, dict[str, float]] = {}
    for series, count in stack.metrics(service).items():
        if series.startswith("vecsec_cache_requests_total"):
            named = SERIES.fullmatch(series)
            assert named is not None, f"{series} has other labels than the cache and the result"
            uses.setdefault(named[1], {})[named[2]] = count
    return uses


async def test_threat_12_every_service_counts_what_its_caches_had_and_tells_of_nobody(stack: Stack) -> None:
    await stack.load("tenant_a", document("plan", "the plan"))
    token = stack.issuer.token("tenant_a")
    services = (stack.gateway_service, stack.retrieval_service, stack.policy_service)

    async def used_by_a_search() -> list[dict[str, tuple[float, float]]]:
        before = [caches(stack, each) for each in services]
        assert await stack.ids(token, "tenant_a") == ["plan"]
        after = [caches(stack, each) for each in services]
        return [
            {cache: (now[cache]["hit"] - was[cache]["hit"], now[cache]["miss"] - was[cache]["miss"]) for cache in now}
            for was, now in zip(before, after, strict=True)
        ]

    gateway, retrieval, policy = await used_by_a_search()
    assert gateway["tokens"] == gateway["plans"] == (0, 1)
    assert retrieval["residuals"] == retrieval["visible_labels"] == (0, 1)
    assert retrieval["grants_verified"] == (1, 1), "to let the call in, and to act on it"
    assert policy["verdicts"] == policy["grants_signed"] == policy["residuals"] == (0, 1)

    gateway, retrieval, policy = await used_by_a_search()
    assert gateway["tokens"] == gateway["plans"] == (1, 0)
    assert retrieval["residuals"] == retrieval["visible_labels"] == (1, 0)
    assert retrieval["grants_verified"] == (2, 0)
    assert policy["tokens"] == policy["verdicts"] == policy["standings"] == policy["labels_read"] == (1, 0)
    assert policy["grants_signed"] == (0, 0), "the gateway remembered its plan"


@pytest.fixture
async def remembering(tmp_path: Path) -> AsyncIterator[Stack]:
    """An installation that remembers answers."""
    async with running_stack(tmp_path, admins_cross=True, VECSEC_ANSWER_MEMORY_BYTES="1M") as running:
        yield running


async def test_threat_10_who_asks_what_another_asked_finds_nothing_remembered(remembering: Stack) -> None:
    for tenant_id in ("tenant_a", "tenant_b"):
        await remembering.load(tenant_id, document("plan", f"the plan of {tenant_id}", "PUBLIC"))
    alice = remembering.issuer.token("tenant_a", subject="alice")
    others = [
        (remembering.issuer.token("tenant_a", subject="bob"), "tenant_a"),
        (remembering.issuer.token("tenant_b", subject="alice"), "tenant_b"),
        (remembering.issuer.token("tenant_a", "admin", "SECRET", "alice"), "tenant_b"),
    ]

    async def found(token: str, tenant_id: str) -> list[str]:
        """What was remembered of a caller's question."""
        was = caches(remembering, remembering.retrieval_service)
        answer = await remembering.search(token, tenant_id, "secret merger")
        assert [row.document.text for row in answer.results] == [f"the plan of {tenant_id}"]
        now = caches(remembering, remembering.retrieval_service)
        return [cache for cache in ("embeddings", "answers") if now[cache]["hit"] > was[cache]["hit"]]

    assert await found(alice, "tenant_a") == []
    for token, tenant_id in others:
        assert await found(token, tenant_id) == []
    assert await found(alice, "tenant_a") == ["embeddings", "answers"]


async def test_threat_10_writes_deletes_rules_and_the_flag_hold_for_remembered_answers(remembering: Stack) -> None:
    stack, token = remembering, remembering.issuer.token()

    async def ids() -> list[str]:
        """What a caller finds who asks again until the answer is a remembered one: an index that is compacted after
        a write is another one, for which nothing is remembered yet."""
        first = await stack.ids(token, "tenant_a", "plans")
        hits = caches(stack, stack.retrieval_service)["answers"]["hit"]

        async def is_remembered() -> bool:
            assert await stack.ids(token, "tenant_a", "plans") == first
            return caches(stack, stack.retrieval_service)["answers"]["hit"] > hits

        await until(is_remembered)
        return sorted(first)

    await stack.load("tenant_a", document("open", "plans", "PUBLIC"), document("inner", "plans", "INTERNAL"))
    assert await ids() == ["inner", "open"]
    await stack.load("tenant_a", document("new", "plans", "PUBLIC"), document("newer", "plans", "PUBLIC"))
    assert await ids() == ["inner", "new", "newer", "open"]
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET", "root"))
    request = gateway_service_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["new"])
    await stack.gateway.DeleteDocuments(request, metadata=admin)
    assert await ids() == ["inner", "newer", "open"]
    await stack.load("tenant_a", document("newer", "plans", "SECRET"))
    assert await ids() == ["inner", "open"]

    rules = stack.policy_folder / "roles.yaml"
    version = (await stack.search(token, "tenant_a", "plans")).policy_version
    rules.write_text(rules.read_text().replace("max_clearance: INTERNAL", "max_clearance: PUBLIC", 1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await stack.search(token, "tenant_a", "plans")).policy_version == version:
            assert sorted(row.document.document_id for row in answer.results) == ["inner", "open"]
    assert [row.document.document_id for row in answer.results] == ["open"]
    assert await ids() == ["open"]

    direct = retrieval_service_pb2.SearchDocumentsRequest(
        grant=await stack.grant(token, "tenant_a"), query=query_pb2.Query(text="plans"), k=10
    )
    assert len((await stack.retrieval.SearchDocuments(direct)).results) == 1
    flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    stack.flag_file.write_text(json.dumps({"flags": {"use_real_vector_retrieval": flag}}))
    await until(lambda: stack.metrics(stack.retrieval_service)["vecsec_feature_flag"] == 0)
    assert (await refusal(stack.retrieval.SearchDocuments(direct))).reason == "REAL_RETRIEVAL_OFF"
