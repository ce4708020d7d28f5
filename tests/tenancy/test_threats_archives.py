"""THREATS 12, 14 and 26: what an export tells, and what an archive that was altered can do."""

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from rpc.test_cli_imports import run, texts
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import document_pb2


async def pages(stack: Stack, token: str, tenant: str = "tenant_a") -> list[pb.ExportDocumentsResponse]:
    """Every answer of an export, but for what is each one's own: the moment's name."""
    found = []
    moment = page_token = ""
    while True:
        request = pb.ExportDocumentsRequest(tenant_id=tenant, moment=moment, page_token=page_token)
        answer = await stack.gateway.ExportDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        moment, page_token = answer.moment, answer.next_page_token
        assert moment
        answer.moment = ""
        found.append(answer)
        if not page_token:
            return found


def visible_rows() -> list[document_pb2.DocumentInput]:
    return [document(f"v{number:04}", f"text {number}", "CONFIDENTIAL") for number in range(450)]


async def test_threat_12_an_export_is_the_same_whatever_hidden_rows_there_are(tmp_path: Path) -> None:
    """Ids, collections, pages and where they end: in two worlds, of which one holds rows above the exporter's level."""
    worlds = []
    for world in ("with", "without"):
        async with running_stack(tmp_path / world) as stack:
            await stack.load("tenant_a", *visible_rows())
            await stack.load("tenant_a", document("last", "x"), collection_id="notes")
            if world == "with":
                for batch in range(4):
                    hidden = [document(f"v{number:04}.{batch}", "x", "SECRET") for number in range(batch, 900, 2)]
                    await stack.load("tenant_a", *hidden)
                await stack.load("tenant_a", document("hidden", "x", "SECRET"), collection_id="hidden")
                await stack.load("tenant_a", document("a hidden one", "x", "SECRET"), collection_id="notes")
            token = stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL")
            worlds.append(await pages(stack, token))
            whole = await run(stack, "tenant", "export", str(tmp_path / f"{world}.archive"), role="superuser")
            worlds.append(whole.stdout.replace(f"{world}.archive", "archive"))
    assert worlds[:2] == worlds[2:]
    assert [len(page.documents) for page in worlds[0]] == [200, 200, 50, 1, 0]


async def test_threat_14_an_export_is_for_configurers_alone(stack: Stack) -> None:
    await stack.load("tenant_a", document("a", "text", "PUBLIC"))
    for role, clearance in (("guest", "PUBLIC"), ("analyst", "INTERNAL")):
        token = stack.issuer.token("tenant_a", role, clearance)
        for tenant in ("tenant_a", "tenant_b"):
            assert (await refusal(pages(stack, token, tenant))).code is grpc.StatusCode.PERMISSION_DENIED
        direct = retrieval_pb2.ExportDocumentsRequest(grant=await stack.grant(token, "tenant_a"))
        refused = await refusal(stack.retrieval.ExportDocuments(direct, timeout=SEARCH_SECONDS))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    for grant in ("", "no grant"):
        direct = retrieval_pb2.ExportDocumentsRequest(grant=grant)
        refused = await refusal(stack.retrieval.ExportDocuments(direct, timeout=SEARCH_SECONDS))
        assert refused.reason == "INVALID_GRANT"


async def test_threat_14_a_policy_that_changes_holds_for_the_pages_that_follow(stack: Stack) -> None:
    """A moment is what is read, not by whom: a token of a lower level sees of it what that level sees."""
    await stack.load("tenant_a", *visible_rows(), document("w", "text", "SECRET"))
    request = pb.ExportDocumentsRequest(tenant_id="tenant_a")
    admin = stack.issuer.token("tenant_a", "admin", "SECRET")
    first = await stack.gateway.ExportDocuments(request, metadata=bearer(admin), timeout=SEARCH_SECONDS)
    seen = {}
    for role, clearance in (("admin", "SECRET"), ("superuser", "CONFIDENTIAL")):
        token = stack.issuer.token("tenant_a", role, clearance)
        following = pb.ExportDocumentsRequest(tenant_id="tenant_a", moment=first.moment, page_token="documents:v0400")
        page = await stack.gateway.ExportDocuments(following, metadata=bearer(token), timeout=SEARCH_SECONDS)
        seen[role] = [each.document_id for each in page.documents]
    assert seen["admin"] == [*seen["superuser"], "w"]


def altered(name: str, before: str, after: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1))

    return change


ALTERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a label": (altered("documents.jsonl", "SECRET", "PUBLIC"), "documents.jsonl was altered or damaged"),
    "cut": (
        lambda folder: (folder / "documents.jsonl").write_bytes((folder / "documents.jsonl").read_bytes()[:-40]),
        "documents.jsonl is cut short",
    ),
    "the last file": (altered("notes.jsonl", "a note", "A note"), "notes.jsonl was altered or damaged"),
    "the manifest": (altered("tenant.json", '"document_count": 1', '"document_count": 2'), "tenant.json is not as it"),
    "surplus": (lambda folder: (folder / "more.jsonl").write_text("{}\n"), "more.jsonl is not of this archive"),
    "missing": (lambda folder: (folder / "notes.jsonl").unlink(), "notes.jsonl is missing"),
    "stripped of its hashes": (
        lambda folder: (folder / "tenant.json").write_text(
            json.dumps(
                {
                    "tenant_id": "tenant_a",
                    "collections": [
                        {"collection_id": name, "embedding_model": "wordllama", "document_count": 1}
                        for name in ("documents", "notes")
                    ],
                }
            )
        ),
        "is an archive of version 0.1, which has no hashes",
    ),
}


@pytest.mark.parametrize("alteration", ALTERED)
async def test_threat_26_nothing_is_stored_of_an_archive_that_was_altered(
    stack: Stack, tmp_path: Path, alteration: str
) -> None:
    await stack.load("tenant_a", document("salaries", "of all", "SECRET"))
    await stack.load("tenant_a", document("n", "a note"), collection_id="notes")
    folder = tmp_path / "archive"
    await run(stack, "tenant", "export", str(folder))
    request = pb.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=["salaries"])
    admin = bearer(stack.issuer.token("tenant_a", "admin", "SECRET"))
    await stack.gateway.DeleteDocuments(request, metadata=admin, timeout=SEARCH_SECONDS)
    change, expected = ALTERED[alteration]
    change(folder)
    told = await run(stack, "tenant", "import", str(folder), exit_code=2)
    [line] = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
    assert expected in line
    assert await texts(stack) == {}
