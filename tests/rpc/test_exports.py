"""Exports of the real services: one moment's state while others write, and back again bit for bit."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
from contract.conftest import ChromaServer
from rpc.test_cli_imports import run
from support.refusals import read_refusal, refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import document_pb2, value_pb2
from vecsec_retrieval.repair import salvage
from vecsec_retrieval.stores.embedded.moments import Moments

ROWS = 300
"""In one batch: all of them are of one version whenever one looks."""


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path / "stack") as running:
        yield running


async def page(
    stack: Stack, token: str, *, moment: str = "", page_token: str = "", tenant: str = "tenant_a"
) -> pb.ExportDocumentsResponse:
    """One page, asked for again when the gateway says so: these are small, and each is a dear call."""
    request = pb.ExportDocumentsRequest(tenant_id=tenant, moment=moment, page_token=page_token)
    while True:
        try:
            return await stack.gateway.ExportDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        except grpc.aio.AioRpcError as error:
            refused = read_refusal(error)
            if refused.reason != "TENANT_LIMIT" or refused.retry_seconds is None:
                raise
            await asyncio.sleep(refused.retry_seconds)


async def exported(
    stack: Stack, token: str, *, first: pb.ExportDocumentsResponse | None = None, tenant: str = "tenant_a"
) -> dict[tuple[str, str], document_pb2.Document]:
    """All documents by collection and id, of a first page's moment or of now."""
    found: dict[tuple[str, str], document_pb2.Document] = {}
    current = first or await page(stack, token, tenant=tenant)
    while True:
        for each in current.documents:
            assert (current.collection_id, each.document_id) not in found
            found[current.collection_id, each.document_id] = each
        if not current.next_page_token:
            return found
        current = await page(stack, token, moment=current.moment, page_token=current.next_page_token, tenant=tenant)


def administrator(stack: Stack, tenant: str = "tenant_a") -> str:
    return stack.issuer.token(tenant, "admin", "SECRET", "operator")


def versioned(document_id: str, version: int) -> document_pb2.DocumentInput:
    """Text, label, metadata and embedding all say which version this is."""
    made = document(document_id, f"version {version}", ("PUBLIC", "SECRET")[version % 2])
    made.metadata["version"].integer_value = version
    made.embedding.extend([1.0, float(version)])
    return made


def version_of(row: document_pb2.Document) -> int:
    version = row.metadata["version"].integer_value
    assert row.text == f"version {version}"
    assert list(row.embedding) == [1.0, float(version)]
    assert row.label.sensitivity == versioned("x", version).sensitivity
    return version


async def write_on(stack: Stack, version: int) -> None:
    """One more version of everything, first in collection `one`, then in `two`; a late id before an early one."""
    for collection in ("one", "two"):
        rows = [versioned(f"row{number:03}", version) for number in range(ROWS)]
        await stack.load("tenant_a", *rows, collection_id=collection)
    await stack.load("tenant_a", versioned(f"a{version:05}", version), collection_id="one")
    await stack.load("tenant_a", versioned(f"z{version:05}", version), collection_id="one")
    if version:
        await delete(stack, "one", f"a{version - 1:05}")
        await delete(stack, "one", f"z{version - 1:05}")


async def delete(stack: Stack, collection: str, document_id: str) -> None:
    request = pb.DeleteDocumentsRequest(tenant_id="tenant_a", collection_id=collection, document_ids=[document_id])
    await stack.gateway.DeleteDocuments(request, metadata=bearer(administrator(stack)), timeout=SEARCH_SECONDS)


def assert_one_moment(versions: dict[tuple[str, str], int]) -> None:
    """What holds at every moment, whatever `write_on` is doing."""
    of_one = {version for (collection, name), version in versions.items() if collection == "one" and name[0] == "r"}
    of_two = {version for (collection, name), version in versions.items() if collection == "two"}
    assert (len(of_one), len(of_two)) == (1, 1), "a batch was cut in two"
    (one,), (two,) = of_one, of_two
    assert one - two in {0, 1}, "the collections are of different moments"
    assert sum(name[0] == "r" for _, name in versions) == 2 * ROWS
    early = {int(name[1:]) for _, name in versions if name[0] == "a"}
    late = {int(name[1:]) for _, name in versions if name[0] == "z"}
    assert all(version in early or version + 1 in early for version in late), "a row is missing that was there"
    assert early | late <= {two - 1, two, one}, "a row was there that was not"


async def test_an_export_is_one_moments_state_while_others_write(stack: Stack, tmp_path: Path) -> None:
    """Through the command, again and again, beside a writer that never rests."""
    await write_on(stack, 0)
    stop = asyncio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            written += 1
            await write_on(stack, written)

    seen: set[int] = set()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        try:
            for number in range(4):
                before = written
                while written < before + 2:
                    await asyncio.sleep(0.01)
                told = await run(stack, "tenant", "export", str(tmp_path / str(number)), "--json")
                assert json.loads(told.stdout)["one_moment"] is True
                versions = archived_versions(tmp_path / str(number))
                assert_one_moment(versions)
                seen.add(versions["one", "row000"])
        finally:
            stop.set()
    assert len(seen) == 4, "each export saw another moment"


def archived_versions(folder: Path) -> dict[tuple[str, str], int]:
    versions = {}
    for collection in ("one", "two"):
        for line in (folder / f"{collection}.jsonl").read_text().splitlines():
            row: dict[str, Any] = json.loads(line)
            version = row["metadata"]["version"]
            assert row["text"] == f"version {version}"
            assert row["embedding"] == [1.0, float(version)]
            assert row["sensitivity"] == ("PUBLIC", "SECRET")[version % 2]
            assert (collection, row["id"]) not in versions
            versions[collection, row["id"]] = version
    return versions


async def test_what_is_written_between_two_pages_is_not_in_an_export(stack: Stack) -> None:
    await write_on(stack, 0)
    first = await page(stack, administrator(stack))
    assert 0 < len(first.documents) < ROWS, "there are more pages"
    for version in range(1, 6):
        await write_on(stack, version)
    found = await exported(stack, administrator(stack), first=first)
    assert {version_of(row) for row in found.values()} == {0}
    assert len(found) == 2 * ROWS + 2
    assert {version_of(row) for row in (await exported(stack, administrator(stack))).values()} == {5}


async def test_an_export_outlives_a_tenant_that_is_read_anew(stack: Stack) -> None:
    await write_on(stack, 0)
    first = await page(stack, administrator(stack))
    await write_on(stack, 1)
    reread = pb.RereadTenantRequest(tenant_id="tenant_a")
    await stack.gateway.RereadTenant(reread, metadata=bearer(administrator(stack)), timeout=SEARCH_SECONDS)
    found = await exported(stack, administrator(stack), first=first)
    assert {version_of(row) for row in found.values()} == {0}


async def test_a_moment_ends_and_is_one_tenants_own(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    await write_on(stack, 0)
    await stack.load("tenant_b", versioned("b", 0))
    first = await page(stack, administrator(stack))
    foreign = await page(stack, administrator(stack, "tenant_b"), tenant="tenant_b")
    for moment in (foreign.moment, "made up", "0"):
        refused = await refusal(page(stack, administrator(stack), moment=moment, page_token=first.next_page_token))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.message == "moment: is not held any more; begin anew with an empty one"
    admin = administrator(stack, "python_net")
    refused = await refusal(page(stack, admin, moment=first.moment, tenant="python_net"))
    assert refused.fields == ("moment",), "a tenant without a cell has not come to its end"
    assert await exported(stack, admin, tenant="python_net") == {}
    monkeypatch.setattr(Moments, "_held", lambda *_: {})
    assert "moment" in (await refusal(exported(stack, administrator(stack), first=first))).message


async def test_a_moment_ends_with_its_process(tmp_path: Path) -> None:
    """`vecsec tenant export` then begins anew."""
    async with running_stack(tmp_path) as stack:
        await write_on(stack, 0)
        first = await page(stack, administrator(stack))
    async with running_stack(tmp_path) as stack:
        following = page(stack, administrator(stack), moment=first.moment, page_token=first.next_page_token)
        assert (await refusal(following)).fields == ("moment",)


async def test_a_row_with_its_embedding_is_never_of_two_versions(stack: Stack) -> None:
    """Documents are read from memory, embeddings from the store: a write may come in between."""
    rows = [versioned(f"row{number}", 0) for number in range(20)]
    await stack.load("tenant_a", *rows)
    names = [row.document_id for row in rows]
    get = pb.GetDocumentsRequest(tenant_id="tenant_a", document_ids=names, include_embeddings=True)
    search = pb.SearchDocumentsRequest(tenant_id="tenant_a", k=20, include_embeddings=True, fallback=pb.FALLBACK_NONE)
    search.query.vector.values.extend([1.0, 1.0])
    token, is_over = bearer(administrator(stack)), False

    async def write() -> None:
        for version in range(1, 30):
            await stack.load("tenant_a", *(versioned(name, version) for name in names))

    async def read() -> None:
        while not is_over:
            got = await stack.gateway.GetDocuments(get, metadata=token, timeout=SEARCH_SECONDS)
            assert len({version_of(row) for row in got.documents}) == 1
            searched = await stack.gateway.SearchDocuments(search, metadata=token, timeout=SEARCH_SECONDS)
            for result in searched.results:
                version_of(result.document)

    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(read())
        await write()
        is_over = True
        await reader


ODD_TEXTS = [
    "\u00a0",
    "a\u2028b\x85c\rd\r\ne\x0bf\x1c",
    "\ufeffa",
    "🙂 e\u0301 \u202e",
    '"\\/\b\f\n\r\t',
    "\x00a\x7f",
    "x" * 100_000,
]
ODD_NUMBERS = [0.1, -0.0, 5e-324, 2.0, 1.7976931348623157e308, 1 / 3, 4.35, 2.675, 1e23, 9007199254740993.0]
ODD_EMBEDDINGS = [
    (1.0, -0.0, 0.0),
    (1e-45, 1.0, -1e-45),
    (1.1754943508222875e-38, -5.877471754111438e-39, 1e-3),
    (0.1, 1 / 3, 3.4028234e14),
    (1.0000001, 0.99999994, -1.1920929e-07),
]


def odd_documents() -> list[document_pb2.DocumentInput]:
    made = []
    for number in range(210):
        each = document(
            f"🙂 {number:03} \u00a0é",
            ODD_TEXTS[number % len(ODD_TEXTS)],
            ("PUBLIC", "INTERNAL", "CONFIDENTIAL", "SECRET")[number % 4],
        )
        each.topics.extend([f"topic.{number % 3}"])
        each.metadata["float"].number_value = ODD_NUMBERS[number % len(ODD_NUMBERS)]
        each.metadata["share"].number_value = number / 7
        each.metadata["whole"].integer_value = (2**63 - 1, -(2**63), 2**53 + 1, 0)[number % 4]
        each.metadata["truth"].boolean_value = number % 2 == 0
        each.metadata["text"].CopyFrom(value_pb2.Value(string_value=ODD_TEXTS[number % 5]))
        each.metadata["empty"].string_value = ""
        each.embedding.extend(ODD_EMBEDDINGS[number % len(ODD_EMBEDDINGS)])
        made.append(each)
    return made


def bits(row: document_pb2.Document) -> tuple[bytes, bytes]:
    """The document but for its tenant, and its embedding as it is in memory; floats of messages keep their bits."""
    bare = document_pb2.Document()
    bare.CopyFrom(row)
    bare.label.tenant_id = ""
    embedding = struct.pack(f"<{len(row.embedding)}f", *row.embedding)
    return bare.SerializeToString(deterministic=True), embedding


async def test_what_is_restored_is_equal_bit_for_bit(tmp_path: Path) -> None:
    """Cold, too: the services are started anew in between, and read from the store."""
    async with running_stack(tmp_path / "stack") as stack:
        documents = odd_documents()
        await stack.load("tenant_a", *documents, collection_id="vectors")
        await stack.load("tenant_a", document("a", "embedded by the service"), document("b", "another one"))
        before = await exported(stack, administrator(stack))
        sent = {("vectors", each.document_id): each for each in documents}
        for key, each in sent.items():
            assert struct.pack("<3f", *each.embedding) == bits(before[key])[1]
            assert {name: value.SerializeToString() for name, value in each.metadata.items()} == {
                name: value.SerializeToString() for name, value in before[key].metadata.items()
            }
            assert each.text == before[key].text
        assert len(before) == len(documents) + 2
        told = await run(stack, "tenant", "export", str(tmp_path / "archive"))
        assert "documents that this token may not read are not in it" in told.stderr
    async with running_stack(tmp_path / "stack") as stack:
        restored = await run(
            stack, "tenant", "import", str(tmp_path / "archive"), "--from-tenant", "tenant_a", tenant="tenant_b"
        )
        assert "vectors: stored 210 of 210 documents" in restored.stdout
        warm = await exported(stack, administrator(stack, "tenant_b"), tenant="tenant_b")
    async with running_stack(tmp_path / "stack") as stack:
        cold = await exported(stack, administrator(stack, "tenant_b"), tenant="tenant_b")
        again = await run(stack, "tenant", "export", str(tmp_path / "again"), tenant="tenant_b")
        assert again.stderr
    expected = {key: bits(row) for key, row in before.items()}
    assert {key: bits(row) for key, row in warm.items()} == expected
    assert {key: bits(row) for key, row in cold.items()} == expected
    for collection in ("vectors", "documents"):
        files = [tmp_path / folder / f"{collection}.jsonl" for folder in ("archive", "again")]
        assert files[0].read_bytes() == files[1].read_bytes()


async def test_what_a_repair_saves_is_what_an_export_holds_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_stack(tmp_path / "stack") as stack:
        await stack.load("tenant_a", *odd_documents(), collection_id="vectors")
        await run(stack, "tenant", "export", str(tmp_path / "archive"))
        cell = stack.chroma_path / "tenant_a"
    capsys.readouterr()
    assert salvage.main([str(cell), "tenant_a"]) == 0
    *saved, lost = map(json.loads, capsys.readouterr().out.split("\n")[:-1])
    assert lost == {"unreadable_rows": 0, "untagged_rows": 0}
    archived = (tmp_path / "archive" / "vectors.jsonl").read_text().split("\n")[:-1]

    def by_id(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
        return {row["id"]: json.dumps(row, sort_keys=True) for row in rows}  # in JSON -0.0 is not 0.0

    assert by_id(each["document"] for each in saved) == by_id(map(json.loads, archived))


async def test_where_no_moment_can_be_held_an_export_is_read_twice(tmp_path: Path) -> None:
    """From a ChromaDB server, which rounds embeddings; everything else comes back as it was."""
    server = ChromaServer(tmp_path)
    try:
        server.wait_until_it_answers()
        async with running_stack(tmp_path / "stack", CHROMA_CONNECTION_STRING=server.url) as stack:
            await stack.load("tenant_a", *(versioned(f"row{number:03}", number) for number in range(ROWS)))
            assert (await page(stack, administrator(stack))).moment == ""
            told = await run(stack, "tenant", "export", str(tmp_path / "archive"), "--json")
            assert json.loads(told.stdout)["one_moment"] is True
            arguments = ("tenant", "import", str(tmp_path / "archive"), "--from-tenant", "tenant_a")
            await run(stack, *arguments, tenant="tenant_b")
            before = await exported(stack, administrator(stack))
            after = await exported(stack, administrator(stack, "tenant_b"), tenant="tenant_b")
        assert list(after) == list(before)
        for key, row in before.items():
            assert list(after[key].embedding) == pytest.approx(list(row.embedding), rel=1e-6)
            assert (after[key].text, after[key].metadata) == (row.text, row.metadata)
            assert after[key].label.sensitivity == row.label.sensitivity
    finally:
        server.stop()
