"""Sources, as users of the SDK have them."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from support.stack import Stack, running_stack

from vecsec_client import AsyncVecSecClient, DocumentInput, Sensitivity, as_source, of_source
from vecsec_client.results import ImportSummary


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        yield running


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncVecSecClient]:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    address = f"127.0.0.1:{stack.gateway_service.port}"
    async with AsyncVecSecClient(address, token=token, default_tenant="tenant_a") as made:
        yield made


def passages(source_id: str, count: int, version: str, **fields: object) -> list[DocumentInput]:
    documents = [
        DocumentInput(
            document_id=f"{source_id}#{number}",
            text=f"{source_id} says {number} in {version}",
            **{"sensitivity": "INTERNAL", "topics": ["marketing"], **fields},  # type: ignore[arg-type]
        )
        for number in range(1, count + 1)
    ]
    return list(as_source(source_id, documents, version=version, title=source_id.upper()))


async def whole(client: AsyncVecSecClient, documents: Iterable[DocumentInput], batch_size: int = 4) -> ImportSummary:
    return await client.import_documents(documents, whole_sources=True, batch_size=batch_size)


async def test_sources_are_listed_relabelled_deleted_and_replaced(client: AsyncVecSecClient) -> None:
    first = [*passages("a", 3, "1"), *passages("b", 6, "1"), *passages("c", 1, "1")]
    assert (await whole(client, first)).stored_count == 10
    listed = [each async for each in client.iter_sources()]
    assert [(each.source_id, each.version, each.title, each.document_count) for each in listed] == [
        ("a", "1", "A", 3),
        ("b", "1", "B", 6),
        ("c", "1", "C", 1),
    ]
    assert listed[0].labels[0].sensitivity is Sensitivity.INTERNAL
    assert (await client.relabel_source("b", sensitivity="SECRET")).relabelled_count == 6
    assert (await client.delete_source("c", dry_run=True)).deleted_count == 1
    assert (await client.delete_source("c")).deleted_count == 1
    assert (await whole(client, passages("a", 1, "2"))).stored_count == 1
    listed = [each async for each in client.iter_sources()]
    assert [(each.source_id, each.version, each.document_count) for each in listed] == [("a", "2", 1), ("b", "1", 6)]
    found = (await client.search("a says", filter=of_source("a"))).results
    assert [(each.document_id, each.source and each.source.position) for each in found] == [("a#1", 1)]


async def test_a_source_of_which_one_passage_is_refused_is_left_out_whole(client: AsyncVecSecClient) -> None:
    await whole(client, passages("a", 3, "1"))
    bad = passages("a", 2, "2")
    blank = DocumentInput(document_id="a#3", text=" ", sensitivity="INTERNAL", topics=["x"], source=bad[1].source)
    summary = await whole(client, [*passages("b", 1, "1"), *bad, blank, *passages("c", 1, "1")], batch_size=100)
    assert summary.stored_count == 2
    assert {(each.index, each.field) for each in summary.rejected} == {(1, "source"), (2, "source"), (3, "text")}
    listed = [(each.source_id, each.version) async for each in client.iter_sources()]
    assert listed == [("a", "1"), ("b", "1"), ("c", "1")]


async def test_a_source_that_is_too_large_or_comes_in_parts_is_refused_whole(client: AsyncVecSecClient) -> None:
    parts = [*passages("a", 1, "1"), *passages("b", 1, "1"), *passages("a", 1, "1")]
    summary = await whole(client, parts)
    assert [(each.index, each.reason) for each in summary.rejected] == [
        (2, "its source came before: the passages of a source must follow one another")
    ]
    summary = await whole(client, passages("large", 1_001, "1", embedding=[1.0]))
    assert summary.rejected_count == 1_001
    assert summary.rejected[0].reason.startswith("its source has more than 1,000 passages")
    assert [each.source_id async for each in client.iter_sources()] == ["a", "b"]
