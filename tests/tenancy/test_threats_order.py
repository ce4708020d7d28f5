"""THREATS 24: authorisation comes before anything about the target is looked at, in every method."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from support.audit_log import read_decisions
from support.issuer import jwks
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as pb
from vecsec.type.v1 import access_pb2, batch_pb2, label_pb2, query_pb2, sensitivity_pb2
from vecsec_policy.audit.records import AuditedOutcome

FOREIGN, ABSENT = "tenant_a", "absent_a"
"""Equally long, so that answers can be compared byte by byte once the one name is put in place of the other."""
CALLERS = (("guest", "PUBLIC"), ("analyst", "INTERNAL"), ("superuser", "CONFIDENTIAL"), ("admin", "SECRET"))
"""Nobody enters another tenant than their own."""
QUERY = query_pb2.Query(text="a note")
BATCH_QUERY = batch_pb2.BatchQuery(query=QUERY, k=1)
LABEL = label_pb2.Label(sensitivity=sensitivity_pb2.SENSITIVITY_PUBLIC, topics=["rag"])

REQUESTS: Mapping[str, Callable[[str], tuple[Message, ...]]] = {
    "SearchDocuments": lambda tenant: (
        pb.SearchDocumentsRequest(tenant_id=tenant, query=QUERY, k=1, fallback=pb.FALLBACK_NONE),
        pb.SearchDocumentsRequest(tenant_id=tenant, query=QUERY, k=1, fallback=pb.FALLBACK_MOCK),
        pb.SearchDocumentsRequest(tenant_id=tenant, query=QUERY, k=1, collection_id="hidden", include_embeddings=True),
    ),
    "SearchDocumentsBatch": lambda tenant: (
        pb.SearchDocumentsBatchRequest(tenant_id=tenant, queries=[BATCH_QUERY], fallback=pb.FALLBACK_NONE),
        pb.SearchDocumentsBatchRequest(tenant_id=tenant, queries=[BATCH_QUERY] * 2, fallback=pb.FALLBACK_MOCK),
        pb.SearchDocumentsBatchRequest(
            tenant_id=tenant,
            queries=[BATCH_QUERY, batch_pb2.BatchQuery(query=QUERY, k=1, collection_id="hidden")],
            include_embeddings=True,
        ),
    ),
    "ImportDocuments": lambda tenant: (pb.ImportDocumentsRequest(tenant_id=tenant, documents=[document("new", "x")]),),
    "GetDocuments": lambda tenant: (
        pb.GetDocumentsRequest(tenant_id=tenant, document_ids=["a"]),
        pb.GetDocumentsRequest(tenant_id=tenant, document_ids=["a"], include_embeddings=True),
    ),
    "DeleteDocuments": lambda tenant: (
        pb.DeleteDocumentsRequest(tenant_id=tenant, document_ids=["a"]),
        pb.DeleteDocumentsRequest(tenant_id=tenant, whole_collection=True, dry_run=True),
    ),
    "RelabelDocuments": lambda tenant: (
        pb.RelabelDocumentsRequest(tenant_id=tenant, document_ids=["a"], change=label_pb2.LabelChange(sensitivity=1)),
    ),
    "ListCollections": lambda tenant: (pb.ListCollectionsRequest(tenant_id=tenant),),
    "ListLabels": lambda tenant: (
        pb.ListLabelsRequest(tenant_id=tenant),
        pb.ListLabelsRequest(tenant_id=tenant, page_token="no page"),
    ),
    "ListDocumentIds": lambda tenant: (
        pb.ListDocumentIdsRequest(tenant_id=tenant),
        pb.ListDocumentIdsRequest(tenant_id=tenant, collection_id="hidden"),
    ),
    "ListSources": lambda tenant: (
        pb.ListSourcesRequest(tenant_id=tenant),
        pb.ListSourcesRequest(tenant_id=tenant, collection_id="hidden"),
    ),
    "ExportDocuments": lambda tenant: (
        pb.ExportDocumentsRequest(tenant_id=tenant),
        pb.ExportDocumentsRequest(tenant_id=tenant, moment="no moment", page_token="no page"),
    ),
    "RereadTenant": lambda tenant: (pb.RereadTenantRequest(tenant_id=tenant),),
    "ExplainAccess": lambda tenant: (
        pb.ExplainAccessRequest(tenant_id=tenant, action=access_pb2.ACTION_READ, label=LABEL),
    ),
    "CountViolations": lambda tenant: (pb.CountViolationsRequest(tenant_id=tenant),),
    "GetTenantUsage": lambda tenant: (pb.GetTenantUsageRequest(tenant_id=tenant),),
    "GetPolicyStatus": lambda tenant: (pb.GetPolicyStatusRequest(tenant_id=tenant),),
    "ListViolations": lambda tenant: (
        pb.ListViolationsRequest(tenant_id=tenant),
        pb.ListViolationsRequest(tenant_id=tenant, page_token="no page"),
    ),
    "ListForeignAccess": lambda tenant: (
        pb.ListForeignAccessRequest(tenant_id=tenant),
        pb.ListForeignAccessRequest(tenant_id=tenant, page_token="no page"),
    ),
}
"""Requests to each method, some of which the target's own callers would be refused for what they ask."""

STATES: Mapping[str, Mapping[str, object]] = {
    "flag on": {"USE_REAL_VECTOR_RETRIEVAL": True},
    "flag off": {"USE_REAL_VECTOR_RETRIEVAL": False},
    "damaged": {},
    "grants revoked": {"VECSEC_GRANT_JWKS": "another.jwks.json"},
    "retrieval gone": {"VECSEC_RETRIEVAL_ADDRESS": "localhost:1"},
}
"""What may be up with the target, and the settings that make it so."""


async def answered(stack: Stack, method: str, request: Message, token: str) -> tuple[object, bytes]:
    """Status and bytes of the answer to a call of who may not enter the tenant; an incident's id is its own."""
    call: Callable[..., Awaitable[Message]] = getattr(stack.gateway, method)
    if method == "ExplainAccess":
        explained = await call(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        assert isinstance(explained, pb.ExplainAccessResponse)
        assert explained.explanation.decision == access_pb2.DECISION_WITHHOLD
        explained.explanation.incident_id = ""
        return grpc.StatusCode.PERMISSION_DENIED, explained.SerializeToString(deterministic=True)
    argument = iter([request]) if method == "ImportDocuments" else request

    async def whole() -> object:
        answer = call(argument, metadata=bearer(token), timeout=SEARCH_SECONDS)
        return [each async for each in answer] if isinstance(answer, grpc.aio.StreamStreamCall) else await answer

    refused = await refusal(whole())
    return refused.code, refused.details


def test_every_method_is_tried() -> None:
    assert set(REQUESTS) == {method.name for method in pb.DESCRIPTOR.services_by_name["GatewayService"].methods}


@pytest.mark.parametrize("state", STATES)
async def test_threat_24_a_foreign_tenant_looks_absent_whatever_is_up_with_it(
    tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same status and bytes from every method, and one denial on record for each call."""
    monkeypatch.chdir(tmp_path)
    Path("another.jwks.json").write_text(jwks(Ed25519PrivateKey.generate()))
    async with running_stack(tmp_path) as stack:
        await stack.load(FOREIGN, document("a", "a note"))
        await stack.load(FOREIGN, document("b", "a note", "SECRET"), collection_id="hidden")
    if state == "damaged":
        for file in (tmp_path / "chroma" / FOREIGN).glob("*.sqlite3*"):
            file.write_bytes(b"no database")
    expected: list[tuple[str, str]] = []
    async with running_stack(tmp_path, **STATES[state]) as stack:
        for method, requests in REQUESTS.items():
            for role, clearance in CALLERS:
                subject = f"{role} calling {method}"
                token = stack.issuer.token("tenant_b", role, clearance, subject)
                for foreign, absent in zip(requests(FOREIGN), requests(ABSENT), strict=True):
                    code, details = await answered(stack, method, foreign, token)
                    assert code is grpc.StatusCode.PERMISSION_DENIED, (method, details)
                    seen = await answered(stack, method, absent, token)
                    assert (code, details.replace(FOREIGN.encode(), ABSENT.encode())) == seen, method
                    expected += [(subject, FOREIGN), (subject, ABSENT)]
    denied = [each for each in read_decisions(stack.audit_file) if each.subject.partition(" ")[0] in dict(CALLERS)]
    assert {each.outcome for each in denied} == {AuditedOutcome.DENIED}
    assert [(each.subject, each.tenant_id) for each in denied] == expected
