"""Who calls: THREATS 7 (spoofed metadata), 13 (bad tokens and grants), 15 (spoofed tags at ingestion)."""

import time
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.certificates import Authority
from support.issuer import Issuer
from support.refusals import refusal
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2
from vecsec.lane.v1 import lane_service_pb2, lane_service_pb2_grpc
from vecsec.policy.v1 import policy_service_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2, retrieval_service_pb2_grpc
from vecsec.type.v1 import access_pb2, label_pb2, query_pb2, sensitivity_pb2

SPOOFED = tuple(
    (key, value)
    for key, value in {
        "x-tenant-id": "tenant_b",
        "tenant_id": "tenant_b",
        "x-role": "admin",
        "role": "admin",
        "x-clearance": "SECRET",
        "x-forwarded-user": "root",
        "x-request-id": "tenant_b",
    }.items()
)


async def test_threat_07_plain_metadata_never_says_who_calls(stack: Stack) -> None:
    await stack.load("tenant_a", document("open", "an open note"), document("secret", "a secret note", "SECRET"))
    await stack.load("tenant_b", document("b", "of tenant b"))
    request = gateway_service_pb2.SearchDocumentsRequest(tenant_id="tenant_a", query=query_pb2.Query(text="note"), k=10)
    metadata = (*bearer(stack.issuer.token()), *SPOOFED)
    answer = await stack.gateway.SearchDocuments(request, metadata=metadata, timeout=SEARCH_SECONDS)
    assert [result.document.document_id for result in answer.results] == ["open"]
    refused = await refusal(stack.gateway.SearchDocuments(request, metadata=SPOOFED, timeout=SEARCH_SECONDS))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")


async def test_threat_07_retrieval_and_policy_trust_no_peer(stack: Stack) -> None:
    """Whoever reaches retrieval or policy directly gets nothing without a grant, or a token, of their own."""
    await stack.load("tenant_a", document("open", "an open note"))
    search = retrieval_service_pb2.SearchDocumentsRequest(query=query_pb2.Query(text="note"), k=10)
    token = stack.issuer.token("tenant_a", "admin", "SECRET")
    for metadata in (SPOOFED, bearer(token), (*bearer(token), *SPOOFED)):
        refused = await refusal(stack.retrieval.SearchDocuments(search, metadata=metadata, timeout=SEARCH_SECONDS))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_GRANT")
    plan = policy_service_pb2.PlanAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ)
    refused = await refusal(stack.policy.PlanAccess(plan, metadata=SPOOFED, timeout=SEARCH_SECONDS))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")


async def test_threat_20_whoever_has_no_token_opens_no_lane_to_the_gateway(stack: Stack) -> None:
    """What comes over a lane is decoded before any token is looked at; only VecSec's own services open them."""
    async with grpc.aio.insecure_channel(f"localhost:{stack.gateway_service.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await lane_service_pb2_grpc.LaneServiceStub(channel).Carry(timeout=SEARCH_SECONDS).read()
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_threat_07_a_lane_gives_no_rights(stack: Stack) -> None:
    """Policy and retrieval carry calls, each by its own token or grant alone, whatever its neighbours have."""
    plan = policy_service_pb2.PlanAccessRequest(tenant_id="tenant_a", action=access_pb2.ACTION_READ)
    search = retrieval_service_pb2.SearchDocumentsRequest(query=query_pb2.Query(text="note"), k=10)
    token = bearer(stack.issuer.token())
    for service, method, request, first in (
        (stack.policy_service, "/vecsec.policy.v1.PolicyService/PlanAccess", plan, grpc.StatusCode.OK),
        (
            stack.retrieval_service,
            "/vecsec.retrieval.v1.RetrievalService/SearchDocuments",
            search,
            grpc.StatusCode.UNAUTHENTICATED,
        ),
    ):
        calls = [
            lane_service_pb2.CarriedCall(
                call_id=number, method=method, metadata=dict(metadata), request=request.SerializeToString()
            )
            for number, metadata in enumerate((token, (), SPOOFED, (("Authorization", token[0][1]),)))
        ]
        codes: dict[int, int] = {}
        async with grpc.aio.insecure_channel(f"localhost:{service.port}") as channel:
            lane = lane_service_pb2_grpc.LaneServiceStub(channel).Carry(timeout=SEARCH_SECONDS)
            await lane.read()
            await lane.write(lane_service_pb2.CarryRequest(calls=calls))
            while len(codes) < len(calls):
                answer = await lane.read()
                assert isinstance(answer, lane_service_pb2.CarryResponse)
                codes |= {outcome.call_id: outcome.failure.code for outcome in answer.outcomes}
        unauthenticated = grpc.StatusCode.UNAUTHENTICATED.value[0]
        assert codes == {0: first.value[0], 1: unauthenticated, 2: unauthenticated, 3: unauthenticated}


async def test_threat_07_a_stolen_grant_is_of_no_use_without_the_gateways_certificate(tmp_path: Path) -> None:
    """Whatever the call, an uninvited peer of the same authority is told the same, and counted."""
    authority = Authority(tmp_path / "tls")
    async with running_stack(tmp_path, authority=authority) as stack:
        await stack.load("tenant_a", document("open", "an open note"))
        grant = await stack.grant(stack.issuer.token(), "tenant_a")
        address = f"localhost:{stack.retrieval_service.port}"
        async with grpc.aio.secure_channel(address, authority.credentials("spiffe://vecsec/other")) as channel:
            stub = retrieval_service_pb2_grpc.RetrievalServiceStub(channel)
            answers = [
                await refusal(stub.SearchDocuments(request, timeout=SEARCH_SECONDS))
                for request in (
                    retrieval_service_pb2.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="note"), k=10),
                    retrieval_service_pb2.SearchDocumentsRequest(grant="nonsense"),
                )
            ]
        assert [answer.code for answer in answers] == [grpc.StatusCode.PERMISSION_DENIED] * 2
        assert answers[0].message == answers[1].message
        assert answers[0].details == answers[1].details
        denied = stack.metrics(stack.retrieval_service)['vecsec_peer_denied_total{method="SearchDocuments"}']
        assert denied == 2


async def test_threat_07_two_tokens_are_none(stack: Stack) -> None:
    request = gateway_service_pb2.ListCollectionsRequest(tenant_id="tenant_a")
    metadata = (*bearer(stack.issuer.token()), *bearer(stack.issuer.token("tenant_a", "admin", "SECRET")))
    refused = await refusal(stack.gateway.ListCollections(request, metadata=metadata, timeout=SEARCH_SECONDS))
    assert refused.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("service", ["gateway", "policy"])
async def test_threat_13_bad_tokens_are_refused_by_gateway_and_policy_alike(stack: Stack, service: str) -> None:
    now = int(time.time())
    issuer = stack.issuer
    for token in (
        issuer.token(exp=now - 60),
        issuer.token(nbf=now + 300),
        issuer.token(iss="https://evil.test"),
        issuer.token(aud="vecsec-retrieval"),
        issuer.token(key=Ed25519PrivateKey.generate()),
        issuer.token() + "x",
        await stack.grant(issuer.token(), "tenant_a"),
    ):
        call = stack.search(token, "tenant_a") if service == "gateway" else stack.grant(token, "tenant_a")
        refused = await refusal(call)
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_TOKEN")


async def test_threat_13_grants_cannot_be_altered_swapped_or_kept(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.load("tenant_a", document("open", "an open note"))
    token = stack.issuer.token("tenant_a", "admin", "SECRET")
    read = await stack.grant(token, "tenant_a")
    write = await stack.grant(token, "tenant_a", access_pb2.ACTION_WRITE)
    assert await _search_with(stack, read) == ["open"]
    head, payload, signature = read.split(".")
    stranger = Issuer(tmp_path / "stranger")
    forged = stranger.token("tenant_a", aud="vecsec-retrieval", iss="vecsec-policy")
    for bad in ("", f"{head}.{payload}x.{signature}", f"{head}.{payload}.", write, token, forged):
        refused = await refusal(_search_with(stack, bad))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_GRANT")
    an_hour_later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: an_hour_later)
    refused = await refusal(_search_with(stack, read))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_GRANT")


async def _search_with(stack: Stack, grant: str) -> list[str]:
    request = retrieval_service_pb2.SearchDocumentsRequest(grant=grant, query=query_pb2.Query(text="note"), k=10)
    answer = await stack.retrieval.SearchDocuments(request, timeout=SEARCH_SECONDS)
    return [result.document.document_id for result in answer.results]


async def test_threat_15_a_writer_stores_nothing_above_its_clearance(stack: Stack) -> None:
    superuser = stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL")
    batch = [document("fine", "a fine note"), document("above", "too secret", "SECRET")]
    refused = await refusal(stack.load("tenant_a", *batch, token=superuser))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ACCESS_DENIED")
    assert any(field.startswith("documents[1]") for field in refused.fields)
    assert await stack.ids(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a") == []


async def test_threat_15_a_writer_cannot_replace_what_it_may_not_write(stack: Stack) -> None:
    await stack.load("tenant_a", document("plan", "the secret plan", "SECRET"))
    superuser = stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL")
    refused = await refusal(stack.load("tenant_a", document("plan", "poisoned"), token=superuser))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    answer = await stack.search(stack.issuer.token("tenant_a", "admin", "SECRET"), "tenant_a")
    assert [result.document.text for result in answer.results] == ["the secret plan"]


async def test_threat_15_the_tenant_comes_from_the_identity(stack: Stack) -> None:
    spoof = document("spoof", "a spoofed note")
    spoof.metadata["tenant_id"].string_value = "tenant_b"
    spoof.metadata["vs_tenant"].string_value = "tenant_b"
    await stack.load("tenant_a", spoof)
    answer = await stack.search(stack.issuer.token("tenant_a"), "tenant_a")
    assert [result.document.label.tenant_id for result in answer.results] == ["tenant_a"]
    assert answer.results[0].document.metadata["vs_tenant"].string_value == "tenant_b"
    assert await stack.ids(stack.issuer.token("tenant_b"), "tenant_b") == []
    refused = await refusal(
        stack.load("tenant_b", document("x", "y"), token=stack.issuer.token("tenant_a", "admin", "SECRET"))
    )
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(("role", "clearance"), [("guest", "PUBLIC"), ("analyst", "INTERNAL")])
async def test_threat_15_readers_do_not_write(stack: Stack, role: str, clearance: str) -> None:
    token = stack.issuer.token("tenant_a", role, clearance)
    refused = await refusal(stack.load("tenant_a", document("x", "y", "PUBLIC"), token=token))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert not (stack.chroma_path / "tenant_a").exists()


async def test_threat_15_an_attribute_that_the_schema_does_not_declare_is_not_stored(stack: Stack) -> None:
    """Nobody could ever read such a row: the rules cannot speak of it."""
    odd = document("odd", "an odd note")
    odd.attributes["undeclared"].string_value = "x"
    declared = document("declared", "a note with an owner")
    declared.attributes["owner"].string_value = "alice"
    refused = await refusal(stack.load("tenant_a", declared, odd))
    assert (refused.code, refused.fields) == (grpc.StatusCode.PERMISSION_DENIED, ("documents[1]",))
    await stack.load("tenant_a", declared)
    answer = await stack.search(stack.issuer.token(), "tenant_a")
    assert [result.document.label.attributes["owner"].string_value for result in answer.results] == ["alice"]


async def test_threat_15_writing_above_ones_clearance_is_counted(stack: Stack) -> None:
    superuser = stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL")
    await refusal(stack.load("tenant_a", document("above", "too secret", "SECRET"), token=superuser))
    assert (await stack.violations("tenant_a"))["clearance_violation"] == 1


async def test_threat_12_an_explanation_tells_values_and_remedies_to_who_may_configure_alone(stack: Stack) -> None:
    """To others the answers to whatever was refused differ in nothing but the incident id."""
    label = label_pb2.Label(tenant_id="tenant_a", sensitivity=sensitivity_pb2.SENSITIVITY_SECRET, topics=["rag"])

    async def explained(
        token: str, tenant_id: str, action: access_pb2.Action.ValueType
    ) -> policy_service_pb2.ExplainAccessResponse:
        request = gateway_service_pb2.ExplainAccessRequest(tenant_id=tenant_id, action=action, label=label)
        answer = await stack.gateway.ExplainAccess(request, metadata=bearer(token), timeout=SEARCH_SECONDS)
        return answer.explanation

    told = set()
    for role, clearance in (("guest", "PUBLIC"), ("analyst", "INTERNAL")):
        for tenant_id in ("tenant_a", "tenant_b", "nowhere"):
            for action in (access_pb2.ACTION_READ, access_pb2.ACTION_WRITE, access_pb2.ACTION_CONFIGURE):
                answer = await explained(stack.issuer.token("tenant_a", role, clearance), tenant_id, action)
                answer.incident_id = "0" * len(answer.incident_id)
                told.add(answer.SerializeToString())
    assert len(told) == 1
    superuser = stack.issuer.token("tenant_a", "superuser", "CONFIDENTIAL")
    full = await explained(superuser, "tenant_a", access_pb2.ACTION_READ)
    assert {each.attribute: each.value for each in full.deciding_values}["principal.clearance"] == "CONFIDENTIAL"
    [change] = full.remedies[0].changes
    assert (change.attribute, change.before, change.after) == ("resource.sensitivity", "SECRET", "CONFIDENTIAL")
    assert full.tried_changes > 0
    foreign = await explained(superuser, "tenant_b", access_pb2.ACTION_READ)
    foreign.incident_id = "0" * len(foreign.incident_id)
    assert {foreign.SerializeToString()} == told
