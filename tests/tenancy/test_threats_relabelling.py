"""THREATS 12, 26: labels change for rows alone that the caller may read and write, to labels that the caller may write,
all of them in one step; and nothing else of the rows changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import access_pb2, document_pb2, filter_pb2, label_pb2, sensitivity_pb2, value_pb2

PUBLIC, CONFIDENTIAL, SECRET = (
    label_pb2.LabelChange(sensitivity=sensitivity_pb2.Sensitivity.Value(f"SENSITIVITY_{name}"))
    for name in ("PUBLIC", "CONFIDENTIAL", "SECRET")
)
MEMOS = filter_pb2.MetadataFilter(
    equals=filter_pb2.MetadataFilter.Equals(key="kind", value=value_pb2.Value(string_value="memo"))
)
MANY = 1_200
"""More than ChromaDB is given at once, and enough for a snapshot."""


def row(name: str, sensitivity: str, readers: list[str] | None = None) -> document_pb2.DocumentInput:
    message = document(name, f"notes {name}", sensitivity)
    message.metadata["kind"].string_value = "memo"
    if readers is not None:
        message.readers.CopyFrom(label_pb2.Readers(names=readers))
    return message


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as running:
        await running.load("tenant_a", row("open", "PUBLIC"), row("inner", "INTERNAL"), row("secret", "SECRET"))
        await running.load("tenant_a", row("alices", "CONFIDENTIAL", ["user:alice"]), document("other", "no memo"))
        yield running


def caller(stack: Stack, role: str, subject: str = "mallory") -> str:
    clearance = {"guest": "PUBLIC", "analyst": "INTERNAL", "superuser": "CONFIDENTIAL", "admin": "SECRET"}[role]
    return stack.issuer.token("tenant_a", role, clearance, subject)


async def relabelled(stack: Stack, token: str, change: label_pb2.LabelChange, **fields: object) -> int:
    request = pb.RelabelDocumentsRequest(tenant_id="tenant_a", change=change, **fields)  # type: ignore[arg-type]
    answer = await stack.gateway.RelabelDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
    return answer.relabelled_count


async def exported(stack: Stack) -> dict[str, document_pb2.Document]:
    """All that alice may read as an administrator, which is all there is."""
    token = caller(stack, "admin", "alice")
    request = pb.ExportDocumentsRequest(tenant_id="tenant_a")
    found: dict[str, document_pb2.Document] = {}
    while True:
        page = await stack.gateway.ExportDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        found |= {each.document_id: each for each in page.documents}
        if not page.next_page_token:
            return found
        request.moment, request.page_token = page.moment, page.next_page_token


def differing(before: dict[str, document_pb2.Document], after: dict[str, document_pb2.Document]) -> set[str]:
    """The rows whose labels differ; nothing else of any may."""
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name].label != after[name].label}
    for name in changed:
        as_before = document_pb2.Document()
        as_before.CopyFrom(after[name])
        as_before.label.CopyFrom(before[name].label)
        assert as_before == before[name]
    return changed


async def test_labels_alone_change_of_rows_that_may_be_read_and_written(stack: Stack) -> None:
    before = await exported(stack)
    superuser = caller(stack, "superuser")
    assert await relabelled(stack, superuser, CONFIDENTIAL, filter=MEMOS, dry_run=True) == 2
    assert await exported(stack) == before
    assert await relabelled(stack, superuser, CONFIDENTIAL, filter=MEMOS) == 2
    assert differing(before, await exported(stack)) == {"open", "inner"}, "not the secret one, nor alice's"
    assert await stack.ids(caller(stack, "analyst"), "tenant_a", "notes") == ["other"]
    assert set(await stack.ids(superuser, "tenant_a", "notes")) == {"open", "inner", "other"}
    assert await relabelled(stack, superuser, CONFIDENTIAL, filter=MEMOS) == 0, "tried again, it is done"
    change = label_pb2.LabelChange(topics=["finance"], readers=label_pb2.Readers(names=["user:bob"]))
    assert await relabelled(stack, caller(stack, "admin"), change, document_ids=["open", "absent", "alices"]) == 1
    label = (await exported_by(stack, "bob"))["open"].label
    assert (label.sensitivity, list(label.topics), list(label.readers.names)) == (3, ["finance"], ["user:bob"])
    assert await stack.ids(superuser, "tenant_a", "notes", k=1) != ["open"]


async def exported_by(stack: Stack, subject: str) -> dict[str, document_pb2.Document]:
    request = pb.ExportDocumentsRequest(tenant_id="tenant_a")
    token = caller(stack, "admin", subject)
    page = await stack.gateway.ExportDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
    return {each.document_id: each for each in page.documents}


async def test_who_may_write_a_row_and_not_read_it_cannot_make_it_readable(stack: Stack) -> None:
    """Administrators replace and delete rows of others' access lists. But a label lets the text be read."""
    admin, open_to_all = caller(stack, "admin"), label_pb2.LabelChange(remove_readers=True)
    before = await exported(stack)
    for fields in ({"document_ids": ["alices"]}, {"filter": MEMOS}, {"whole_collection": True}):
        assert await relabelled(stack, admin, open_to_all, **fields) == 0
    assert await exported(stack) == before
    assert await relabelled(stack, caller(stack, "admin", "alice"), open_to_all, document_ids=["alices"]) == 1
    assert "alices" in await stack.ids(admin, "tenant_a", "notes")


async def test_a_label_beyond_the_caller_changes_nothing_and_is_counted(stack: Stack) -> None:
    before = await exported(stack)
    refused = await refusal(relabelled(stack, caller(stack, "superuser"), SECRET, filter=MEMOS))
    assert (refused.code, refused.fields) == (grpc.StatusCode.PERMISSION_DENIED, ("change",))
    assert (await stack.violations("tenant_a"))["clearance_violation"] == 1, "each new label once"
    undeclared = label_pb2.LabelChange(attributes={"colour": value_pb2.Value(string_value="red")})
    for role, change in (("analyst", PUBLIC), ("guest", PUBLIC), ("admin", undeclared)):
        refused = await refusal(relabelled(stack, caller(stack, role), change, filter=MEMOS))
        assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert await exported(stack) == before


async def test_retrieval_itself_wants_both_grants_and_labels_that_were_checked(stack: Stack) -> None:
    before = await exported(stack)
    superuser = caller(stack, "superuser")
    write = await stack.grant(superuser, "tenant_a", access_pb2.ACTION_WRITE)
    read = await stack.grant(superuser, "tenant_a")

    async def told(change: label_pb2.LabelChange, **fields: object) -> retrieval_pb2.RelabelDocumentsResponse:
        usual = {"grant": write, "read_grant": read, "filter": MEMOS, "change": change}
        request = retrieval_pb2.RelabelDocumentsRequest(**{**usual, **fields})  # type: ignore[arg-type]
        return await stack.retrieval.RelabelDocuments(request, timeout=SEARCH_SECONDS)

    for fields in (
        {"read_grant": ""},
        {"grant": read},
        {"read_grant": write},
        {"read_grant": await stack.grant(caller(stack, "admin", "alice"), "tenant_a")},
    ):
        assert (await refusal(told(PUBLIC, **fields))).reason == "INVALID_GRANT"
    unchecked = await told(SECRET)
    assert (unchecked.relabelled_count, len(unchecked.unchecked_labels)) == (2, 1)
    refused = await refusal(told(SECRET, checked_labels=unchecked.unchecked_labels))
    assert (refused.reason, refused.fields) == ("ACCESS_DENIED", ("change",)), "the grant does not see it"
    assert await exported(stack) == before


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"change": label_pb2.LabelChange(), "document_ids": ["a"]}, "change"),
        ({"change": PUBLIC}, "request"),
        (
            {
                "change": label_pb2.LabelChange(readers=label_pb2.Readers(names=["bob"])),
                "document_ids": ["open"],
            },
            "change.readers[0]",
        ),
        ({"change": PUBLIC, "filter": MEMOS, "whole_collection": True}, "request"),
    ],
)
async def test_what_cannot_be_meant_is_named(stack: Stack, fields: dict[str, object], field: str) -> None:
    refused = await refusal(relabelled(stack, caller(stack, "admin"), **fields))  # type: ignore[arg-type]
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, (field,))


async def test_readers_see_all_old_labels_or_all_new_ones_also_after_a_restart(tmp_path: Path) -> None:
    seen: set[int] = set()
    async with running_stack(tmp_path) as stack:
        rows = [row(f"d{number}", "PUBLIC") for number in range(MANY)]
        for start in range(0, MANY, 600):
            await stack.load("tenant_a", *rows[start : start + 600])
        guest, admin = caller(stack, "guest"), caller(stack, "admin")

        async def count() -> int:
            request = pb.ListDocumentIdsRequest(tenant_id="tenant_a", page_size=1, include_count=True)
            answer = await stack.gateway.ListDocumentIds(request, metadata=bearer(guest), timeout=SEARCH_SECONDS)
            return answer.document_count

        for change in (SECRET, PUBLIC, CONFIDENTIAL):
            relabelling = asyncio.create_task(relabelled(stack, admin, change, whole_collection=True))
            while not relabelling.done():
                seen.add(await count())
            assert await relabelling == MANY
            seen.add(await count())
        assert seen == {0, MANY}
        assert await relabelled(stack, admin, PUBLIC, document_ids=["d7", "d8"]) == 2
    async with running_stack(tmp_path) as stack:
        assert set(await stack.ids(caller(stack, "guest"), "tenant_a", "notes", k=10)) == {"d7", "d8"}
        assert len(await stack.ids(caller(stack, "superuser"), "tenant_a", "notes", k=1000)) == 1000
