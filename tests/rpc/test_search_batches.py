"""Several searches in one call, as callers have them: each answered as if it were alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from rpc.test_cli_imports import run
from support.audit_log import read_decisions
from support.refusals import refusal
from support.stack import Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import batch_pb2, document_pb2, error_reason_pb2, filter_pb2, query_pb2
from vecsec_client import AsyncVecSecClient, SearchQuery, VecSecClient, exists, text_contains
from vecsec_client.errors import InvalidArgument, RealRetrievalUnavailable

SECONDS = 60
PHRASINGS = ("a note on ranking", "passages and their order", "ships", "note 7", "the seventh note")


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        rows = [
            document(f"d{number:03d}", f"note {number % 40} on ranking", "SECRET" if number % 5 == 0 else "PUBLIC")
            for number in range(700)
        ]
        for number, row in enumerate(rows):
            row.metadata["part"].integer_value = number % 3
        await running.load("tenant_a", *rows)
        await running.load("tenant_a", document("ship", "a ship at sea"), collection_id="ships")
        await running.load("tenant_a", document("secret", "a secret note", "SECRET"), collection_id="hidden")
        yield running


def query(text: str = "a note", **fields: object) -> batch_pb2.BatchQuery:
    return batch_pb2.BatchQuery(**{"query": query_pb2.Query(text=text), "k": 10, **fields})  # type: ignore[arg-type]


def part(number: int) -> filter_pb2.MetadataFilter:
    condition = filter_pb2.MetadataFilter()
    condition.equals.key = "part"
    condition.equals.value.integer_value = number
    return condition


async def batch(
    stack: Stack, *queries: batch_pb2.BatchQuery, role: str = "analyst", **fields: object
) -> pb.SearchDocumentsBatchResponse:
    request = pb.SearchDocumentsBatchRequest(tenant_id="tenant_a", queries=queries, **fields)  # type: ignore[arg-type]
    return await stack.gateway.SearchDocumentsBatch(request, metadata=bearer(token(stack, role)), timeout=SECONDS)


def token(stack: Stack, role: str = "analyst") -> str:
    return stack.issuer.token("tenant_a", role, {"analyst": "INTERNAL", "admin": "SECRET"}[role], role)


async def alone(
    stack: Stack, each: batch_pb2.BatchQuery, role: str = "analyst", **fields: object
) -> list[document_pb2.ScoredDocument]:
    request = pb.SearchDocumentsRequest(tenant_id="tenant_a", **fields)  # type: ignore[arg-type]
    request.MergeFromString(each.SerializeToString())  # the fields have the same numbers
    answer = await stack.gateway.SearchDocuments(request, metadata=bearer(token(stack, role)), timeout=SECONDS)
    return list(answer.results)


async def test_each_query_is_answered_bit_for_bit_as_if_it_were_alone(stack: Stack) -> None:
    queries = [
        *(query(text) for text in PHRASINGS),
        query(k=3, filter=part(1)),
        query(k=40, filter=part(1)),
        query(filter=part(2), offset=4),
        query(distinct_texts=True, k=32),
        query(min_score=0.4, k=20),
        query("ships", collection_id="ships"),
        query(collection_id="documents", offset=600, k=50),
    ]
    answer = await batch(stack, *queries)
    assert len(answer.results) == len(queries)
    for each, result in zip(queries, answer.results, strict=True):
        assert list(result.results) == await alone(stack, each)
        assert not result.HasField("error")
    assert answer.provenance == document_pb2.PROVENANCE_REAL
    assert len({row.document.text for row in answer.results[8].results}) == 32
    assert all(row.document.label.sensitivity <= 2 for result in answer.results for row in result.results)
    with_embeddings = await batch(stack, query(k=2), role="admin", include_embeddings=True)
    assert list(with_embeddings.results[0].results) == await alone(
        stack, query(k=2), role="admin", include_embeddings=True
    )
    assert with_embeddings.results[0].results[0].document.embedding
    assert with_embeddings.results[0].strategy == "exact_scan"


async def test_a_query_that_cannot_be_answered_says_so_for_itself(stack: Stack) -> None:
    answer = await batch(
        stack,
        query(),
        query(collection_id="hidden"),
        query(collection_id="absent"),
        query(filter=filter_pb2.MetadataFilter(exists=filter_pb2.MetadataFilter.Exists(key="nowhere"))),
        query(filter=wrong_key()),
        query(query=query_pb2.Query(vector=query_pb2.Vector(values=[1.0]))),
    )
    good, hidden, absent, nothing, key, vector = answer.results
    assert len(good.results) == 10
    assert nothing.results == [] and not nothing.HasField("error")  # noqa: PT018 (both of one result)
    assert hidden.error.reason == error_reason_pb2.ERROR_REASON_COLLECTION_NOT_FOUND
    hidden.error.message = hidden.error.message.replace("hidden", "absent")
    assert hidden == absent
    assert [each.field for each in key.error.violations] == ["filter.equals.key"]
    assert vector.error.reason == error_reason_pb2.ERROR_REASON_INVALID_FIELD
    assert [each.field for each in vector.error.violations] == ["query.vector.values"]


def wrong_key() -> filter_pb2.MetadataFilter:
    condition = part(1)
    condition.equals.key = "prat"
    return condition


async def test_a_batch_has_limits(stack: Stack) -> None:
    for queries, words in (
        ([], "queries"),
        ([query(k=1)] * 33, "queries"),
        ([query(k=500), query(k=500, offset=1)], "ask for 1,001 rows"),
        ([query(k=1000, offset=1)], "k and offset may be 1,000 together"),
        ([query(" ")], "blank"),
    ):
        told = await refusal(batch(stack, *queries))
        assert told.code is grpc.StatusCode.INVALID_ARGUMENT
        assert words in told.message
    told = await refusal(batch(stack, query(), include_embeddings=True))
    assert told.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_batch_is_planned_and_checked_once_and_recorded_so(stack: Stack) -> None:
    before = len(list(read_decisions(stack.audit_file)))
    calls = stack.metrics(stack.policy_service)
    answer = await batch(stack, *(query(text) for text in PHRASINGS), query("ships", collection_id="ships"))

    def recorded() -> int:
        return len(list(read_decisions(stack.audit_file))) - before

    await until(lambda: recorded() >= 2)
    plan, check = list(read_decisions(stack.audit_file))[before:]
    assert [plan.call.value, check.call.value] == ["plan", "check"]
    assert answer.request_id == check.request_id
    after = stack.metrics(stack.policy_service)
    for method in ("PlanAccess", "CheckDocuments"):
        series = f'vecsec_requests_total{{code="OK",method="{method}"}}'
        assert after[series] - calls.get(series, 0) == 1
    assert stack.metrics(stack.retrieval_service)["vecsec_batched_queries_total"] == 6


async def test_without_real_retrieval_all_of_a_batch_is_made_up_or_nothing(tmp_path: Path) -> None:
    async with running_stack(tmp_path, USE_REAL_VECTOR_RETRIEVAL=False) as stack:
        await made_up_or_nothing(stack)


async def made_up_or_nothing(stack: Stack) -> None:
    queries = [query("one"), query("two", k=2), query("one", offset=3), query("one", min_score=0.99)]
    answer = await batch(stack, *queries, fallback=pb.FALLBACK_MOCK)
    assert answer.mock_reason == pb.MOCK_REASON_FLAG_OFF
    assert [len(each.results) for each in answer.results][:3] == [5, 2, 2]
    for each, result in zip(queries, answer.results, strict=True):
        assert list(result.results) == await alone(stack, each, fallback=pb.FALLBACK_MOCK)
        assert all(row.provenance == document_pb2.PROVENANCE_MOCK for row in result.results)
    async with AsyncVecSecClient(f"localhost:{stack.gateway_service.port}", token=token(stack)) as client:
        with pytest.raises(RealRetrievalUnavailable):
            await client.search_batch(["one", "two"], tenant="tenant_a")
        made_up = await client.search_batch(["one"], tenant="tenant_a", allow_mock=True)
        assert not made_up.is_real


def by_the_blocking_client(stack: Stack) -> list[list[str]]:
    with VecSecClient(f"localhost:{stack.gateway_service.port}", token=token(stack)) as client:
        answer = client.search_batch(
            ["a note", SearchQuery(query="a note", k=4, filter=text_contains("note 7 "), distinct_texts=True)],
            tenant="tenant_a",
        )
        return [[row.text for row in each] for each in answer]


async def test_the_sdk_has_batches(stack: Stack) -> None:
    plain, filtered = await asyncio.to_thread(by_the_blocking_client, stack)
    assert len(plain) == 10
    assert filtered == ["note 7 on ranking"]
    async with AsyncVecSecClient(f"localhost:{stack.gateway_service.port}", token=token(stack)) as client:
        answer = await client.search_batch(
            ["a note", SearchQuery(query="x", collection="absent"), SearchQuery(query="x", filter=exists("part"))],
            tenant="tenant_a",
        )
        assert [len(each) for each in answer] == [10, 0, 10]
        assert answer.is_real
        assert answer[0].failure is None
        assert answer[1].failure is not None
        assert answer[1].failure.reason == "COLLECTION_NOT_FOUND"
        assert answer.to_dict()["answers"][1]["failure"]["fields"] == {}
        with pytest.raises(InvalidArgument, match="must be a list"):
            await client.search_batch("a note", tenant="tenant_a")
        wrong = SearchQuery(query="x", filter={"$or": []})  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match=r"queries\[1\]\.filter"):
            await client.search_batch(["x", wrong], tenant="tenant_a")


async def test_the_command_line_asks_for_each_line_of_a_file(stack: Stack) -> None:
    file = stack.folder / "queries.txt"
    file.write_text("a note\n\n  ships  \n" + "".join(f"note {number}\n" for number in range(40)))
    printed = await run(stack, "search", "--batch", str(file), "-k", "2", "--json")
    told = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [each["query"] for each in told] == ["a note", "ships", *(f"note {number}" for number in range(40))]
    assert all(len(each["results"]) == 2 for each in told)
    assert len({each["request_id"] for each in told}) == 2, "32 queries a call"
    assert "note 7 on ranking" in (await run(stack, "search", "--batch", str(file), "-k", "1")).stdout
    failed = await run(stack, "search", "--batch", str(file), "--collection", "absent", exit_code=1)
    assert "not answered" in failed.stdout
    assert "not both" in (await run(stack, "search", "x", "--batch", str(file), exit_code=2)).stderr
    assert "cannot be read" in (await run(stack, "search", "--batch", "nowhere", exit_code=2)).stderr
    shaped = await run(stack, "search", "a note", "-k", "3", "--offset", "1", "--distinct-texts", "--json")
    assert len({each["text"] for each in json.loads(shaped.stdout)["results"]}) == 3
