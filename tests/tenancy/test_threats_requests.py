"""What a request can do: THREATS 4 (operators), 5, 6 (tenant ids), 9 (foreign ids), 12 (what errors tell)."""

from pathlib import Path

import grpc
import pytest
from support.refusals import Refusal, refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.type.v1 import filter_pb2, value_pb2


def equals(key: str, value: str) -> filter_pb2.MetadataFilter:
    return filter_pb2.MetadataFilter(
        equals=filter_pb2.MetadataFilter.Equals(key=key, value=value_pb2.Value(string_value=value))
    )


@pytest.mark.parametrize("key", ["$or", "$and", "$ne", "vs:tenant", "", "tenant id", '{"$ne":1}'])
async def test_threat_04_a_filter_key_is_never_an_operator(stack: Stack, key: str) -> None:
    refused = await refusal(stack.search(stack.issuer.token(), "tenant_a", filter=equals(key, "x")))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == ("filter.equals.key",)


@pytest.mark.parametrize("key", ["vs_tenant", "vs_label", "vs_sensitivity", "vs_topics", "tenant_id", "m.team"])
async def test_threat_04_reserved_keys_cannot_be_filtered_on(stack: Stack, key: str) -> None:
    open_row = document("open", "an open note")
    open_row.metadata["team"].string_value = "red"
    await stack.load("tenant_a", open_row, document("secret", "a secret note", "SECRET"))
    refused = await refusal(stack.search(stack.issuer.token(), "tenant_a", filter=equals(key, "tenant_a")))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields[0].startswith("filter")


async def test_threat_04_an_or_in_the_filter_only_narrows(stack: Stack) -> None:
    rows = []
    for document_id, sensitivity in (("open", "INTERNAL"), ("other", "INTERNAL"), ("secret", "SECRET")):
        row = document(document_id, f"note {document_id}", sensitivity)
        row.metadata["team"].string_value = "blue" if document_id == "other" else "red"
        rows.append(row)
    await stack.load("tenant_a", *rows)
    either = filter_pb2.MetadataFilter(
        any_of=filter_pb2.MetadataFilter.AnyOf(filters=[equals("team", "red"), equals("team", "green")])
    )
    assert await stack.ids(stack.issuer.token(), "tenant_a", filter=either) == ["open"]


@pytest.mark.parametrize("tenant_id", ["", " ", "null", "None", "default", "*", "%"])
async def test_threat_05_an_empty_tenant_never_becomes_a_default(stack: Stack, tenant_id: str) -> None:
    await stack.load("tenant_a", document("a", "a note"))
    refused = await refusal(stack.search(stack.issuer.token(), tenant_id))
    assert refused.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)


@pytest.mark.parametrize(
    "tenant_id",
    ["Tenant_a", "TENANT_A", "tenant_a ", " tenant_a", "tenant_a.", "tenant_a\0", "tenant_a/", "../tenant_a",
     "tenant_b/../tenant_a", "ｔenant_a", "tenаnt_a", "tenant_a\n", "tenant-a\u200b"],
)  # fmt: skip
async def test_threat_06_tenant_ids_are_never_folded(stack: Stack, tenant_id: str) -> None:
    await stack.load("tenant_a", document("a", "a note"))
    refused = await refusal(stack.search(stack.issuer.token("tenant_a", "admin", "SECRET"), tenant_id))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields == ("tenant_id",)


@pytest.mark.parametrize("tenant_id", ["con", "nul", "com1"])
async def test_threat_06_reserved_names_are_refused(tmp_path: Path, tenant_id: str) -> None:
    async with running_stack(tmp_path, admins_cross=True) as stack:
        refused = await refusal(stack.search(stack.issuer.token("tenant_a", "admin", "SECRET"), tenant_id))
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert not (stack.chroma_path / tenant_id).exists()


async def test_threat_09_a_foreign_tenant_and_an_absent_one_look_the_same(stack: Stack) -> None:
    await stack.load("tenant_b", document("b", "a note of b"))
    token = stack.issuer.token("tenant_a")
    foreign = await refusal(stack.search(token, "tenant_b"))
    absent = await refusal(stack.search(token, "tenant_x"))
    assert foreign.code is grpc.StatusCode.PERMISSION_DENIED
    assert foreign.details.replace(b"tenant_b", b"tenant_x") == absent.details


async def test_threat_09_a_foreign_collection_and_an_absent_one_look_the_same(stack: Stack) -> None:
    await stack.load("tenant_b", document("b", "a note of b"), collection_id="contracts")
    await stack.load("tenant_a", document("a", "hidden from analysts", "SECRET"), collection_id="hidden000")
    token = stack.issuer.token("tenant_a")
    foreign = await refusal(stack.search(token, "tenant_a", collection_id="contracts"))
    absent = await refusal(stack.search(token, "tenant_a", collection_id="absent000"))
    hidden = await refusal(stack.search(token, "tenant_a", collection_id="hidden000"))
    assert foreign.code is grpc.StatusCode.NOT_FOUND
    assert foreign.details.replace(b"contracts", b"absent000") == absent.details
    assert hidden.details.replace(b"hidden000", b"absent000") == absent.details


async def test_threat_12_answers_do_not_depend_on_what_others_hold(tmp_path: Path) -> None:
    """Two worlds that differ only in what the caller may not see; every answer and error must be equal."""
    async with running_stack(tmp_path / "poor") as stack:
        await stack.load("tenant_a", *_visible_rows())
        poor = await _everything_a_caller_sees(stack)
    async with running_stack(tmp_path / "rich") as stack:
        await stack.load("tenant_b", *[document(f"b-{number}", f"of tenant b {number}") for number in range(50)])
        hidden = [document(f"h-{number}", f"visible note {number}", "SECRET") for number in range(50)]
        hidden[0].metadata["salary"].integer_value = 1
        off_topic = [document(f"t-{number}", "visible note", "INTERNAL", ("finance",)) for number in range(50)]
        await stack.load("tenant_a", *hidden, *off_topic)
        await stack.load("tenant_a", *_visible_rows())
        await stack.load("tenant_a", document("h", "a secret collection", "SECRET"), collection_id="board")
        rich = await _everything_a_caller_sees(stack)
    assert poor == rich


def _visible_rows() -> list[object]:
    return [document(f"v-{number}", f"visible note {number}") for number in range(5)]


async def _everything_a_caller_sees(stack: Stack) -> list[object]:
    token = stack.issuer.token()
    seen: list[object] = []
    for text in ("visible note 3", "of tenant b 3"):
        answer = await stack.search(token, "tenant_a", text, k=100)
        answer.request_id = ""
        seen.append(answer)
    request = gateway_service_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=["v-1", "h-1", "b-1", "t-1"])
    seen.append(await stack.gateway.GetDocuments(request, metadata=bearer(token), timeout=SEARCH_SECONDS))
    listing = gateway_service_pb2.ListCollectionsRequest(tenant_id="tenant_a")
    seen.append(await stack.gateway.ListCollections(listing, metadata=bearer(token), timeout=SEARCH_SECONDS))
    for refused in (
        await refusal(stack.search(token, "tenant_b")),
        await refusal(stack.search(token, "tenant_a", collection_id="board")),
        await refusal(stack.search(token, "tenant_a", filter=equals("salary", "1"))),
    ):
        assert isinstance(refused, Refusal)
        seen.append(refused)
    return seen
