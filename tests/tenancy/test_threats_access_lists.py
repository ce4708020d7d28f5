"""Rows that name their readers. THREATS 6 (names that look alike), 9 and 12 (hidden and absent), 10 (caches), 13
(altered grants), 30 (records of callers with many groups)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import document_pb2, label_pb2, query_pb2
from vecsec_chassis.domain.caller_sets import member_hash

MANY = [f"department-{number:03d}" for number in range(250)]


@pytest.fixture
async def remembering(tmp_path: Path) -> AsyncIterator[Stack]:
    """An installation that remembers answers."""
    async with running_stack(tmp_path, VECSEC_ANSWER_MEMORY_BYTES="1M") as running:
        yield running


def limited(document_id: str, *readers: str, text: str = "a note") -> document_pb2.DocumentInput:
    row = document(document_id, text)
    row.readers.CopyFrom(label_pb2.Readers(names=readers))
    return row


async def test_threat_10_nothing_remembered_of_one_caller_serves_another(remembering: Stack) -> None:
    stack, names = remembering, ("a", "b", "c")
    await stack.load(
        "tenant_a", *(limited(f"of-{name}", f"group:{name}") for name in names), document("open", "a note")
    )
    for _ in range(3):
        for groups in (["a"], ["b"], [], ["a", "c"], ["b", "c"], ["d"]):
            # The same person throughout: a token may say otherwise than the one before.
            found = await stack.ids(stack.issuer.token(subject="alice", groups=groups), "tenant_a")
            assert set(found) == {"open"} | {f"of-{name}" for name in groups if name in names}
    assert not await stack.violations("tenant_a"), "the check never had to correct the mask"


async def test_threat_06_names_that_look_alike_are_others(stack: Stack) -> None:
    await stack.load("tenant_a", limited("row", "group:finance", "user:alice"))
    for groups in (["Finance"], ["finance "], ["group:finance"], ["ﬁnance"], ["user:alice"], ["fin\u0430nce"]):
        assert await stack.ids(stack.issuer.token(subject="mallory", groups=groups), "tenant_a") == []
    for subject in ("Alice", "alice ", "user:alice", "tenant_a/alice"):
        assert await stack.ids(stack.issuer.token(subject=subject), "tenant_a") == []


async def test_threats_09_and_12_what_others_read_looks_absent(stack: Stack) -> None:
    await stack.load("tenant_a", limited("row", "group:finance"), collection_id="ledger")
    stranger = bearer(stack.issuer.token(groups=["sales"]))

    async def told(collection_id: str) -> tuple[object, ...]:
        search = gateway_pb2.SearchDocumentsRequest(
            tenant_id="tenant_a",
            collection_id=collection_id,
            query=query_pb2.Query(text="note"),
            k=3,
            fallback=gateway_pb2.FALLBACK_NONE,
        )
        refused = await refusal(stack.gateway.SearchDocuments(search, metadata=stranger))
        return refused.code, refused.reason, refused.message.replace(collection_id, "…")

    assert await told("ledger") == await told("absent")
    listing = gateway_pb2.ListCollectionsRequest(tenant_id="tenant_a")
    assert not (await stack.gateway.ListCollections(listing, metadata=stranger)).collections
    ids = gateway_pb2.ListDocumentIdsRequest(tenant_id="tenant_a", collection_id="ledger")
    assert (await refusal(stack.gateway.ListDocumentIds(ids, metadata=stranger))).reason == "COLLECTION_NOT_FOUND"


async def test_threat_13_the_sets_behind_a_grant_are_those_that_were_signed(stack: Stack) -> None:
    await stack.load("tenant_a", limited("mine", "group:sales"), limited("theirs", "group:finance"))
    grant = await stack.grant(stack.issuer.token(groups=["sales"]), "tenant_a")
    other = await stack.grant(stack.issuer.token(groups=["finance"]), "tenant_a")
    assert await _search_with(stack, grant) == ["mine"]
    signed, behind, members = grant.partition("~")
    assert behind
    assert member_hash("group:sales") != member_hash("group:finance")
    for bad in (
        signed,
        f"{signed}~",
        f"{signed}~{other.partition('~')[2]}",
        f"{signed}~{members}{members}",
        f"{signed}~{members[:-2]}",
        f"{signed}~{members}~",
        f"{signed}~{members}!",
        f"{signed}~é",
        f"{grant}~{members}",
    ):
        refused = await refusal(_search_with(stack, bad))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_GRANT")


async def _search_with(stack: Stack, grant: str) -> list[str]:
    request = retrieval_service_pb2.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="note"), k=10)
    answer = await stack.retrieval.SearchDocuments(request, timeout=SEARCH_SECONDS)
    return [result.document.document_id for result in answer.results]


async def test_threat_30_records_of_callers_with_many_groups_stay_short(stack: Stack) -> None:
    await stack.load("tenant_a", limited("row", "group:department-007"), document("open", "a note"))
    assert set(await stack.ids(stack.issuer.token(groups=["sales"]), "tenant_a")) == {"open"}
    assert set(await stack.ids(stack.issuer.token(groups=MANY), "tenant_a")) == {"open", "row"}

    def records() -> list[dict[str, object]]:
        return [json.loads(line) for line in stack.audit_file.read_text().splitlines()]

    async def is_written() -> bool:
        return records()[-1]["call"] == "check" and "caller_groups_left_out" in records()[-1]

    await until(is_written)
    few = next(each for each in records() if each.get("caller_groups") == ["sales"])
    assert "caller_groups_left_out" not in few
    many = [each for each in records() if "caller_groups_left_out" in each]
    assert [each["caller_groups"] for each in many] == [[], ["department-007"]], "the plan, and the check of these rows"
    assert [each["caller_groups_left_out"] for each in many] == [250, 249]
    assert all(len(json.dumps(each)) < 2_000 for each in many)


async def test_threat_12_logs_and_metrics_name_no_groups(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    await stack.load("tenant_a", limited("row", "group:sentinel-of-a-list"))
    assert await stack.ids(stack.issuer.token(groups=["sentinel-of-a-list"]), "tenant_a") == ["row"]
    assert await stack.ids(stack.issuer.token(groups=["sentinel-of-a-token"]), "tenant_a") == []
    for service in (stack.policy_service, stack.retrieval_service, stack.gateway_service):
        assert not [series for series in stack.metrics(service) if "sentinel" in series]
    written = capfd.readouterr()
    assert "sentinel" not in written.out + written.err


async def test_threat_06_tokens_with_malformed_groups_are_refused(stack: Stack) -> None:
    for groups in (7, [7], [""], ["a\nb"], ["x" * 251], {"a": 1}, [["a"]], ["\ud800"]):
        refused = await refusal(stack.search(stack.issuer.token(groups=groups), "tenant_a"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")
