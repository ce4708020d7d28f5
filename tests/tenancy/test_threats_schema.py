"""Row 22 of the threats: what does not fit the schema is for nobody, whichever way it is asked for."""

from pathlib import Path

from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2
from vecsec.type.v1 import access_pb2, document_pb2, value_pb2

ROWS = 20


def numbered(name: str, text: str, **attributes: value_pb2.Value) -> list[document_pb2.DocumentInput]:
    rows = [document(f"{name}-{number:02}", f"{text} {number}", "PUBLIC") for number in range(ROWS)]
    for row in rows:
        for attribute, value in attributes.items():
            row.attributes[attribute].CopyFrom(value)
    return rows


async def adopt_schema(stack: Stack, old: str, new: str) -> None:
    """Change the schema, and wait until it decides."""
    before = (await stack.search(stack.issuer.token(), "tenant_a", k=1)).policy_version
    path = stack.policy_folder / "schema.cedarschema"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))

    async def is_adopted() -> bool:
        return (await stack.search(stack.issuer.token(), "tenant_a", k=1)).policy_version != before

    await until(is_adopted)


async def write_directly(stack: Stack, row: document_pb2.DocumentInput) -> None:
    """Store a row past the gateway, by a grant of an administrator."""
    grant = await stack.grant(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a", access_pb2.ACTION_WRITE)
    request = retrieval_service_pb2.ImportDocumentsRequest(grant=grant, documents=[row])
    async for _ in stack.retrieval.ImportDocuments(iter([request]), timeout=SEARCH_SECONDS):
        pass


async def expect_only(stack: Stack, fit: set[str], unfit: set[str]) -> None:
    """Search, count, list, get and delete know the rows that fit and no others, and nothing diverged."""
    admin = stack.issuer.token("tenant_a", "admin", "SECRET")
    for token in (stack.issuer.token(), admin):
        assert len(await stack.ids(token, "tenant_a", "rare words", k=10)) == 10
        assert set(await stack.ids(token, "tenant_a", "rare words", k=100)) == fit
        grant = await stack.grant(token, "tenant_a")
        listed = await stack.retrieval.ListCollections(
            retrieval_service_pb2.ListCollectionsRequest(grant=grant), timeout=SEARCH_SECONDS
        )
        assert [each.document_count for each in listed.collections] == [len(fit)]
        ids = await stack.gateway.ListDocumentIds(
            gateway_service_pb2.ListDocumentIdsRequest(tenant_id="tenant_a"),
            metadata=bearer(token),
            timeout=SEARCH_SECONDS,
        )
        assert set(ids.document_ids) == fit
        got = await stack.gateway.GetDocuments(
            gateway_service_pb2.GetDocumentsRequest(tenant_id="tenant_a", document_ids=sorted(unfit)),
            metadata=bearer(token),
            timeout=SEARCH_SECONDS,
        )
        assert not got.documents
    deleted = await stack.gateway.DeleteDocuments(
        gateway_service_pb2.DeleteDocumentsRequest(tenant_id="tenant_a", document_ids=sorted(unfit)),
        metadata=bearer(admin),
        timeout=SEARCH_SECONDS,
    )
    assert deleted.deleted_count == 0
    assert await stack.violations("tenant_a") == {}


async def test_threat_22_rows_with_a_retired_attribute_are_nowhere(stack: Stack) -> None:
    carriers = numbered("carrier", "rare words", region=value_pb2.Value(string_value="eu"))
    await stack.load("tenant_a", *carriers, *numbered("plain", "something else"))
    await adopt_schema(stack, "  region?: String,\n", "  // retired: region\n")
    unfit = {row.document_id for row in carriers}
    await expect_only(stack, {f"plain-{number:02}" for number in range(ROWS)}, unfit)
    assert (await refusal(write_directly(stack, carriers[0]))).reason == "ACCESS_DENIED"
    # With the attribute declared again they are there again: nothing was lost.
    await adopt_schema(stack, "  // retired: region\n", "  region?: String,\n")
    assert set(await stack.ids(stack.issuer.token(), "tenant_a", "rare words", k=20)) == unfit


async def test_threat_22_a_write_of_another_type_is_refused_at_retrieval_too(stack: Stack) -> None:
    await stack.load("tenant_a", *numbered("plain", "something"))
    odd = document("odd", "rare words", "PUBLIC")
    for name, value in (
        ("owner", value_pb2.Value(integer_value=5)),
        ("owner", value_pb2.Value(boolean_value=True)),
        ("owner", value_pb2.Value(string_list_value=value_pb2.StringList(values=["alice"]))),
        ("colour", value_pb2.Value(string_value="red")),
    ):
        odd.ClearField("attributes")
        odd.attributes[name].CopyFrom(value)
        refused = await refusal(write_directly(stack, odd))
        assert refused.reason == "ACCESS_DENIED"
        assert refused.message == "the policy does not let this caller write these documents"
    await expect_only(stack, {f"plain-{number:02}" for number in range(ROWS)}, {"odd"})


async def test_threat_22_rows_of_another_type_than_now_are_nowhere_also_after_a_restart(tmp_path: Path) -> None:
    async with running_stack(tmp_path) as stack:
        await stack.load("tenant_a", *numbered("plain", "something else"))
        await adopt_schema(stack, "  owner?: String,\n", "  owner?: Long,\n")
        await stack.load("tenant_a", *numbered("odd", "rare words", owner=value_pb2.Value(integer_value=5)))
        await adopt_schema(stack, "  owner?: Long,\n", "  owner?: String, // retired: owner\n")
        odd = {f"odd-{number:02}" for number in range(ROWS)}
        await expect_only(stack, {f"plain-{number:02}" for number in range(ROWS)}, odd)
    async with running_stack(tmp_path) as stack:
        await expect_only(stack, {f"plain-{number:02}" for number in range(ROWS)}, odd)
