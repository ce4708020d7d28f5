"""THREATS 12, 26: a source is replaced whole, in one step, by who may write all that there is of it; what is told of
sources follows from passages alone that the caller may read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
from support.refusals import Refusal, refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import document_pb2, filter_pb2, source_pb2

LETTER = filter_pb2.MetadataFilter(sources=filter_pb2.MetadataFilter.Sources(source_ids=["letter"]))


def passage(
    source_id: str, position: int, version: str, sensitivity: str = "INTERNAL", title: str = ""
) -> document_pb2.DocumentInput:
    """A passage of a source, whose text names the version."""
    message = document(f"{source_id}#{position}", f"{source_id} of {version}, part {position}", sensitivity)
    message.source.CopyFrom(
        document_pb2.SourcePassage(source_id=source_id, version=version, title=title, position=position)
    )
    return message


def source(source_id: str, parts: int, version: str, sensitivity: str = "INTERNAL") -> list[document_pb2.DocumentInput]:
    return [passage(source_id, position, version, sensitivity) for position in range(1, parts + 1)]


def caller(stack: Stack, role: str, subject: str = "mallory") -> str:
    clearance = {"guest": "PUBLIC", "analyst": "INTERNAL", "superuser": "CONFIDENTIAL", "admin": "SECRET"}[role]
    return stack.issuer.token("tenant_a", role, clearance, subject)


async def replace(stack: Stack, token: str, documents: Sequence[document_pb2.DocumentInput]) -> None:
    request = pb.ImportDocumentsRequest(tenant_id="tenant_a", documents=documents, whole_sources=True)
    stream = stack.gateway.ImportDocuments(iter([request]), metadata=bearer(token), timeout=SEARCH_SECONDS)
    answers = [answer async for answer in stream]
    assert [answer.whole_sources for answer in answers] == [True]


async def refused(stack: Stack, token: str, documents: Sequence[document_pb2.DocumentInput]) -> Refusal:
    return await refusal(replace(stack, token, documents))


async def sources(stack: Stack, token: str, **fields: object) -> list[source_pb2.Source]:
    request = pb.ListSourcesRequest(tenant_id="tenant_a", **fields)  # type: ignore[arg-type]
    found: list[source_pb2.Source] = []
    while True:
        page = await stack.gateway.ListSources(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        found += page.sources
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        yield running


async def test_a_source_comes_in_whole_and_its_surplus_leaves(stack: Stack) -> None:
    admin = caller(stack, "admin")
    await replace(stack, admin, [*source("letter", 5, "v1"), *source("memo", 2, "v1"), document("alone", "no source")])
    await replace(stack, admin, source("letter", 2, "v2", "CONFIDENTIAL"))
    assert sorted(await stack.ids(admin, "tenant_a")) == ["alone", "letter#1", "letter#2", "memo#1", "memo#2"]
    found = (await stack.search(admin, "tenant_a", filter=LETTER)).results
    assert {(each.document.source.version, each.document.source.position) for each in found} == {("v2", 1), ("v2", 2)}
    assert not found[0].document.metadata
    # A changed label holds for all of it.
    assert await stack.ids(caller(stack, "analyst"), "tenant_a", filter=LETTER) == []
    listed = [(each.source_id, each.version, each.document_count) for each in await sources(stack, admin, page_size=1)]
    assert listed == [("letter", "v2", 2), ("memo", "v1", 2)]


async def test_sources_are_deleted_and_relabelled_by_filter_and_lie_in_the_store(stack: Stack) -> None:
    admin = caller(stack, "admin")
    await replace(stack, admin, [*source("letter", 3, "v1"), *source("memo", 2, "v1")])
    await stack.gateway.RereadTenant(pb.RereadTenantRequest(tenant_id="tenant_a"), metadata=bearer(admin))
    await replace(stack, admin, source("memo", 1, "v2"))
    deletion = pb.DeleteDocumentsRequest(tenant_id="tenant_a", filter=LETTER)
    assert (await stack.gateway.DeleteDocuments(deletion, metadata=bearer(admin))).deleted_count == 3
    assert [each.source_id for each in await sources(stack, admin)] == ["memo"]
    assert (await stack.gateway.DeleteDocuments(deletion, metadata=bearer(admin))).deleted_count == 0


async def test_a_batch_that_has_a_source_in_two_versions_or_a_place_twice_stores_nothing(stack: Stack) -> None:
    admin = caller(stack, "admin")
    twice = passage("letter", 1, "v1")
    twice.document_id = "other"
    for second, field in (
        (passage("letter", 2, "v2"), "documents[1].source"),
        (passage("letter", 2, "v1", title="Another"), "documents[1].source"),
        (twice, "documents[1].source.position"),
    ):
        told = await refused(stack, admin, [passage("letter", 1, "v1"), second])
        assert (told.code, told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))
    assert await sources(stack, admin) == []


async def test_threat_26_who_may_not_write_an_old_passage_replaces_nothing_and_learns_nothing(stack: Stack) -> None:
    """Hidden surplus is refused in the words of a label of the batch's own, and it is not said of which source."""
    admin, superuser = caller(stack, "admin"), caller(stack, "superuser")
    await replace(stack, admin, [*source("letter", 2, "v1", "INTERNAL"), passage("letter", 3, "v1", "SECRET")])
    hidden = await refused(stack, superuser, [*source("memo", 1, "v2"), *source("letter", 2, "v2")])
    assert hidden.code is grpc.StatusCode.PERMISSION_DENIED
    assert hidden.fields == ("documents",)
    # As where a row of the batch's own ids is one that the caller may not write:
    await stack.load("tenant_a", document("a", "x", "SECRET"), document("b", "x", "SECRET"))
    overwriting = await refused(stack, superuser, [*source("memo", 1, "v2"), document("a", "y"), document("b", "y")])
    words = b"the policy does not let this caller write these documents"
    assert words in hidden.details
    assert words in overwriting.details
    assert sorted(await stack.ids(admin, "tenant_a", filter=LETTER)) == ["letter#1", "letter#2", "letter#3"]
    assert [(each.source_id, each.version) for each in await sources(stack, admin)] == [("letter", "v1")]


async def test_threat_9_of_many_guessed_sources_it_is_not_told_which_there_are(stack: Stack) -> None:
    admin, superuser = caller(stack, "admin"), caller(stack, "superuser")
    await replace(stack, admin, [*source("layoffs", 1, "v1", "SECRET"), *source("lawsuit", 1, "v1", "SECRET")])
    guesses = [passage(each, 7, "v2") for each in ("layoffs", "party", "lawsuit", "none")]
    told = await refused(stack, superuser, guesses)
    assert (told.code, told.fields) == (grpc.StatusCode.PERMISSION_DENIED, ("documents",))
    assert await stack.ids(superuser, "tenant_a") == []


async def test_threat_12_hidden_passages_and_sources_change_nothing_that_is_listed(stack: Stack) -> None:
    """Two worlds: what an analyst is told of sources is the same, whatever there is that they may not read."""
    admin, analyst = caller(stack, "admin"), caller(stack, "analyst")
    visible = [*source("b", 2, "v1"), *source("d", 1, "v1"), document("alone", "no source")]
    await replace(stack, admin, visible)
    worlds = [await told(stack, analyst)]
    await replace(stack, admin, [*source("a", 3, "v1", "SECRET"), *source("c", 2, "v1", "SECRET")])
    worlds.append(await told(stack, analyst))
    # A passage of a visible source, of another version and title, in the plain way that restores use.
    await stack.load("tenant_a", passage("d", 7, "v9", "SECRET", title="Secret title"))
    worlds.append(await told(stack, analyst))
    assert worlds[0] == worlds[1] == worlds[2]
    assert [each.version for each in await sources(stack, admin)] == ["v1", "v1", "v1", ""]
    assert await sources(stack, caller(stack, "guest")) == []


async def told(stack: Stack, token: str) -> list[list[bytes]]:
    """All pages, of each size."""
    pages = []
    for page_size in (1, 2, 3, 0):
        request = pb.ListSourcesRequest(tenant_id="tenant_a", page_size=page_size)
        of_size = []
        while True:
            page = await stack.gateway.ListSources(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
            of_size.append(page.SerializeToString(deterministic=True))
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        pages.append(of_size)
    return pages


async def test_threat_26_no_reader_finds_half_a_source_or_one_of_an_older_version(stack: Stack) -> None:
    admin, analyst = caller(stack, "admin"), caller(stack, "analyst")
    sizes = {f"v{number}": (number * 7) % 11 + 1 for number in range(25)}
    await replace(stack, admin, source("letter", sizes["v0"], "v0"))
    acknowledged = 0
    seen: list[set[str]] = []

    async def read() -> None:
        while acknowledged < len(sizes) - 1:
            oldest = acknowledged
            found = (await stack.search(analyst, "tenant_a", k=50, filter=LETTER)).results
            versions = {each.document.source.version for each in found}
            assert len(versions) == 1, versions
            (version,) = versions
            assert len(found) == sizes[version], (version, len(found))
            assert int(version[1:]) >= oldest
            seen.append(versions)

    readers = [asyncio.create_task(read()) for _ in range(2)]
    for number, (version, size) in enumerate(sizes.items()):
        await replace(stack, admin, source("letter", size, version))
        acknowledged = number
        await asyncio.sleep(0)
    await asyncio.gather(*readers)
    assert len(seen) > 5
