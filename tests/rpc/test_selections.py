"""Documents that a filter selects, as users of the SDK and of the command line have them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from rpc.test_cli_imports import run
from support.stack import Stack, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client import AsyncVecSecClient, VecSecClient, equals
from vecsec_client.errors import ResourceExhausted
from vecsec_client.iterating import PageParts

ROWS = 450
"""More than a page."""


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        rows = [document(f"d{number:03d}", f"note {number}") for number in range(ROWS)]
        for number, row in enumerate(rows):
            row.metadata["part"].integer_value = number % 3
        await running.load("tenant_a", *rows)
        yield running


def asynchronous(stack: Stack) -> AsyncVecSecClient:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    return AsyncVecSecClient(f"127.0.0.1:{stack.gateway_service.port}", token=token, default_tenant="tenant_a")


def listed_by_the_blocking_client(stack: Stack) -> list[str]:
    token = stack.issuer.token("tenant_a", "admin", "SECRET", "root")
    with VecSecClient(f"127.0.0.1:{stack.gateway_service.port}", token=token, default_tenant="tenant_a") as client:
        return [each.document_id for each in client.iter_documents(filter=equals("part", 1))]


async def test_counting_iterating_and_deleting_by_filter(stack: Stack) -> None:
    second = equals("part", 1)
    expected = [f"d{number:03d}" for number in range(ROWS) if number % 3 == 1]
    async with asynchronous(stack) as client:
        assert await client.count_documents() == ROWS
        assert await client.count_documents(filter=second) == len(expected)
        assert [each.document_id async for each in client.iter_documents(filter=second)] == expected
        assert await asyncio.to_thread(listed_by_the_blocking_client, stack) == expected
        assert [each.document_id async for each in client.iter_documents()] == [f"d{n:03d}" for n in range(ROWS)]
        assert (await client.delete_documents(filter=second, dry_run=True)).deleted_count == len(expected)
        assert (await client.delete_documents(filter=second)).deleted_count == len(expected)
        assert await client.count_documents() == ROWS - len(expected)


async def test_the_command_line_counts_first_and_deletes_when_told(stack: Stack) -> None:
    assert (await run(stack, "count", "--filter", "part=1")).stdout == "150 documents\n"
    listed = await run(stack, "list", "--filter", "part=1", "--limit", "2", "--json")
    assert [json.loads(line)["document_id"] for line in listed.stdout.splitlines()] == ["d001", "d004"]
    assert (
        "2 of 150 documents; --limit 0 lists all"
        in (await run(stack, "list", "--filter", "part=1", "--limit", "2")).stdout
    )
    told = await run(stack, "delete", "--filter", "part=1", exit_code=2)
    assert "would delete 150 documents of tenant_a, collection documents" in told.stderr
    assert "--yes does it without asking" in told.stderr
    assert (await run(stack, "delete", "--filter", "part=1", "--dry-run")).stdout == (
        "would delete 150 documents of tenant_a, collection documents\n"
    )
    assert (await run(stack, "delete", "--filter", "part=1", "--yes")).stdout == "deleted 150 documents\n"
    assert (await run(stack, "delete", "d000", "d001", "--dry-run", exit_code=1)).stdout == (
        "would delete 1 of 2 documents\n"
    )
    assert (
        "has the metadata key 'prat'" in (await run(stack, "delete", "--filter", "prat=1", "--yes", exit_code=2)).stderr
    )
    assert (await run(stack, "delete", "--all", "--yes", "--json")).stdout == (
        '{\n  "deleted_count": 300,\n  "dry_run": false\n}\n'
    )
    assert (await run(stack, "count")).stdout == "0 documents\n"
    assert "say what to delete" in (await run(stack, "delete", exit_code=2)).stderr


async def test_ids_of_a_dry_run_are_taken_nowhere_else(stack: Stack) -> None:
    """An older service deletes what is in document_ids."""
    metadata = (("authorization", f"Bearer {stack.issuer.token('tenant_a', 'admin', 'SECRET', 'root')}"),)
    for request in (
        gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["d000"], dry_run=True),
        gateway_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", dry_run_ids=["d000"]),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="put the ids of a dry run into dry_run_ids"):
            await stack.gateway.DeleteDocuments(request, metadata=metadata)
    async with asynchronous(stack) as client:
        assert (await client.delete_documents(["d000", "none"], dry_run=True)).deleted_count == 1
        assert await client.count_documents() == ROWS


def test_parts_of_a_page_are_halved_until_they_fit_an_answer() -> None:
    parts, asked, too_large = PageParts(range(5)), [], ResourceExhausted("the answer would be larger")  # type: ignore[arg-type]
    while parts:
        part = parts.take()
        if len(part) > 2:
            parts.halve(part, too_large)
        else:
            asked += list(part)
    assert asked == [0, 1, 2, 3, 4]
    with pytest.raises(ResourceExhausted):
        parts.halve(["alone"], too_large)


async def test_the_command_line_relabels_what_it_counted(stack: Stack) -> None:
    told = await run(stack, "relabel", "--filter", "part=1", "--sensitivity", "secret", exit_code=2)
    assert "nobody can be asked here; would relabel 150 documents of tenant_a, collection documents" in told.stderr
    assert (await run(stack, "relabel", "--filter", "part=1", "--sensitivity", "secret", "--yes")).stdout == (
        "relabelled 150 documents\n"
    )
    assert (await run(stack, "count", role="analyst")).stdout == "300 documents\n"
    refused = await run(stack, "relabel", "d000", "--sensitivity", "SECRET", "--yes", role="superuser", exit_code=4)
    assert "the policy does not let this caller write these labels" in refused.stderr
    async with asynchronous(stack) as client:
        changed = await client.relabel_documents(filter=equals("part", 1), sensitivity="PUBLIC", topics=["finance"])
        assert changed.relabelled_count == 150
        (document,) = (await client.get_documents(["d001"])).documents
        assert (document.sensitivity, document.topics) == ("PUBLIC", ("finance",))
    assert "say what to relabel" in (await run(stack, "relabel", "--sensitivity", "PUBLIC", exit_code=2)).stderr
