"""THREATS 4, 9, 12: what is counted, listed and deleted by a filter is what the caller may see and delete. Rows beside
it change no answer, and stay."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from support.refusals import Refusal, refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import access_pb2, document_pb2, filter_pb2, label_pb2, value_pb2

YEAR = filter_pb2.MetadataFilter(
    equals=filter_pb2.MetadataFilter.Equals(key="year", value=value_pb2.Value(integer_value=2020))
)


def row(name: str, sensitivity: str, readers: list[str] | None = None, **metadata: int) -> document_pb2.DocumentInput:
    message = document(name, f"notes {name}", sensitivity)
    for key, number in metadata.items():
        message.metadata[key].integer_value = number
    if readers is not None:
        message.readers.CopyFrom(label_pb2.Readers(names=readers))
    return message


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        await running.load("tenant_a", row("open", "PUBLIC", year=2020), row("older", "PUBLIC", year=2019))
        await running.load("tenant_a", row("secret", "SECRET", year=2020, hidden=1))
        await running.load("tenant_a", row("alices", "PUBLIC", ["user:alice"], year=2020, hidden=1))
        await running.load("tenant_a", row("note", "SECRET", year=2020), collection_id="hidden")
        yield running


def key_of(name: str) -> filter_pb2.MetadataFilter:
    value = value_pb2.Value(integer_value=1)
    return filter_pb2.MetadataFilter(equals=filter_pb2.MetadataFilter.Equals(key=name, value=value))


def caller(stack: Stack, role: str, subject: str = "mallory") -> str:
    clearance = {"guest": "PUBLIC", "analyst": "INTERNAL", "superuser": "CONFIDENTIAL", "admin": "SECRET"}[role]
    return stack.issuer.token("tenant_a", role, clearance, subject)


async def listed(stack: Stack, token: str, **fields: object) -> tuple[list[str], int]:
    request = pb.ListDocumentIdsRequest(tenant_id="tenant_a", include_count=True, **fields)  # type: ignore[arg-type]
    answer = await stack.gateway.ListDocumentIds(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
    assert answer.HasField("document_count")
    return list(answer.document_ids), answer.document_count


async def deleted(stack: Stack, token: str, **fields: object) -> int:
    request = pb.DeleteDocumentsRequest(tenant_id="tenant_a", **fields)  # type: ignore[arg-type]
    answer = await stack.gateway.DeleteDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
    return answer.deleted_count


async def test_a_filter_counts_and_lists_what_may_be_read_alone(stack: Stack) -> None:
    assert await listed(stack, caller(stack, "guest"), filter=YEAR) == (["open"], 1)
    assert await listed(stack, caller(stack, "admin"), filter=YEAR) == (["open", "secret"], 2)
    assert await listed(stack, caller(stack, "admin", "alice"), filter=YEAR) == (["alices", "open", "secret"], 3)
    assert await listed(stack, caller(stack, "guest"), page_size=1) == (["older"], 2)
    request = pb.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["older", "open", "secret"], filter=YEAR)
    found = await stack.gateway.GetDocuments(request, metadata=bearer(caller(stack, "guest")), timeout=SEARCH_SECONDS)
    assert [each.document_id for each in found.documents] == ["open"]


async def test_keys_and_collections_of_hidden_rows_are_as_if_they_were_not(stack: Stack) -> None:
    guest, admin = caller(stack, "guest"), caller(stack, "admin")

    async def told(token: str, **fields: object) -> Refusal:
        return await refusal(listed(stack, token, **fields))

    for name in ("hidden", "absent"):
        refused = await told(guest, filter=key_of(name))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.fields == ("filter.equals.key",)
    assert (await listed(stack, admin, filter=key_of("hidden")))[0] == ["secret"]
    for token, many in ((guest, listed), (admin, deleted)):
        collections = ("hidden", "absent") if token is guest else ("absent", "gone")
        refusals = [await refusal(many(stack, token, collection_id=each, filter=YEAR)) for each in collections]
        assert {each.code for each in refusals} == {grpc.StatusCode.NOT_FOUND}
        first, second = (each.message.replace(name, "…") for each, name in zip(refusals, collections, strict=True))
        assert first == second


async def test_a_deletion_by_filter_leaves_rows_that_may_not_be_read_or_not_deleted(stack: Stack) -> None:
    """An administrator may delete a row by its id though others alone may read it. But a filter would tell of it."""
    admin = caller(stack, "admin")
    assert await deleted(stack, admin, filter=YEAR, dry_run=True) == 2
    assert await listed(stack, caller(stack, "admin", "alice")) == (["alices", "older", "open", "secret"], 4)
    assert (await refusal(deleted(stack, caller(stack, "superuser"), filter=YEAR))).reason == "ACCESS_DENIED"
    assert await deleted(stack, admin, filter=key_of("hidden")) == 1  # the secret one alone
    assert await deleted(stack, admin, filter=YEAR) == 1
    assert await deleted(stack, admin, filter=YEAR) == 0, "tried again, it is done"
    assert await listed(stack, caller(stack, "admin", "alice")) == (["alices", "older"], 2)


async def test_a_whole_collection_goes_by_the_right_to_delete_and_begins_anew(stack: Stack) -> None:
    admin = caller(stack, "admin")
    assert (await refusal(deleted(stack, caller(stack, "superuser"), whole_collection=True))).reason == "ACCESS_DENIED"
    assert await deleted(stack, admin, collection_id="hidden", whole_collection=True, dry_run=True) == 1
    assert await deleted(stack, admin, collection_id="hidden", whole_collection=True) == 1
    again = await refusal(deleted(stack, admin, collection_id="hidden", whole_collection=True))
    assert again.code is grpc.StatusCode.NOT_FOUND
    other = row("vector", "PUBLIC")
    other.embedding.extend([1.0, 2.0, 3.0])  # of another length: it is another collection
    await stack.load("tenant_a", other, collection_id="hidden")
    assert await listed(stack, admin, collection_id="hidden") == (["vector"], 1)
    assert await listed(stack, admin, filter=YEAR) == (["open", "secret"], 2), "others' rows stay"
    assert await deleted(stack, admin, whole_collection=True) == 4, "alice's, too, which may be deleted by its id"
    assert await listed(stack, caller(stack, "admin", "alice")) == ([], 0)


async def test_retrieval_wants_both_grants_of_one_caller(stack: Stack) -> None:
    admin = caller(stack, "admin")
    delete = await stack.grant(admin, "tenant_a", access_pb2.ACTION_DELETE)

    async def refused(read_grant: str) -> Refusal:
        request = retrieval_pb2.DeleteDocumentsRequest(grant=delete, read_grant=read_grant, filter=YEAR)
        return await refusal(stack.retrieval.DeleteDocuments(request, timeout=SEARCH_SECONDS))

    for read_grant in (
        "",
        delete,
        await stack.grant(caller(stack, "admin", "alice"), "tenant_a"),
        await stack.grant(stack.issuer.token("tenant_b", "admin", "SECRET"), "tenant_b"),
    ):
        assert (await refused(read_grant)).reason == "INVALID_GRANT"
    assert await listed(stack, admin, filter=YEAR) == (["open", "secret"], 2)


@pytest.mark.parametrize(
    "fields", [{}, {"document_ids": ["a"], "filter": YEAR}, {"filter": YEAR, "whole_collection": True}]
)
async def test_what_to_delete_is_said_once(stack: Stack, fields: dict[str, object]) -> None:
    refused = await refusal(deleted(stack, caller(stack, "admin"), **fields))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "set one of document_ids, filter and whole_collection" in refused.message
