"""Row 24 of the threats: to somebody without right all targets look alike, in every method of every service."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from support.audit_log import read_decisions
from support.stack import SEARCH_SECONDS, Stack, bearer, document, running_stack
from support.waiting import until
from tenancy.test_threats_leak import panic
from unit.retrieval.worlds import permit

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec.policy.v1 import policy_service_pb2 as policy_pb2
from vecsec.retrieval.v1 import retrieval_service_pb2 as retrieval_pb2
from vecsec.type.v1 import access_pb2, batch_pb2, label_pb2, query_pb2
from vecsec_chassis.auth.grants import GrantSigner, thumbprint
from vecsec_chassis.domain.access import Action, Grant

# All as long as each other, so that answers can be compared byte by byte once the names are taken out.
ABSENT, FOREIGN, FLAG_OFF, PANICKED, MOVED, DAMAGED, EMPTY, PROMOTED = (f"target_{number}" for number in range(8))
LISTED = [FOREIGN, FLAG_OFF, PANICKED, MOVED, DAMAGED, EMPTY, PROMOTED]
ANY_NAME = b"target_?"
READ, WRITE, CONFIGURE = access_pb2.ACTION_READ, access_pb2.ACTION_WRITE, access_pb2.ACTION_CONFIGURE

Call: TypeAlias = Callable[[Stack, str, str], Awaitable[Any]]
"""A call of somebody (a token, or a grant at retrieval) to a tenant."""


@asynccontextmanager
async def targets(folder: Path) -> AsyncIterator[Stack]:
    """A running installation with a tenant in each state."""
    tenants = {tenant_id: ["marketing"] for tenant_id in LISTED}
    async with running_stack(folder, tenants=tenants) as stack:
        for tenant_id in set(LISTED) - {EMPTY}:
            await stack.load(tenant_id, document("row", "plans", "PUBLIC"))
    shutil.rmtree(folder / "chroma" / MOVED)
    os.truncate(folder / "chroma" / DAMAGED / "chroma.sqlite3", 1_000)
    switch = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
    switch["targeting"] = {"if": [{"in": [{"var": "tenant_id"}, [FLAG_OFF]]}, "off"]}
    (folder / "flags.json").write_text(json.dumps({"flags": {"use_real_vector_retrieval": switch}}))
    roles = shutil.copytree(folder / "policy", folder / "next") / "roles.yaml"
    roles.write_text(roles.read_text() + "\n# the next version\n")
    rollout = folder / "rollout.yaml"
    rollout.write_text(json.dumps({"candidate": "next", "promoted": {"tenants": [PROMOTED]}}))
    async with running_stack(folder, tenants=tenants, VECSEC_POLICY_ROLLOUT_FILE=rollout) as stack:
        await panic(stack, "--tenant", PANICKED)
        yield stack


def at_gateway(method: str, **fields: object) -> Call:
    return _call("gateway", gateway_pb2, method, fields)


def at_policy(method: str, **fields: object) -> Call:
    return _call("policy", policy_pb2, method, fields)


def _call(service: str, module: Any, method: str, fields: Mapping[str, object]) -> Call:
    async def call(stack: Stack, target: str, token: str) -> Any:
        request = getattr(module, f"{method}Request")(tenant_id=target, **fields)
        stub = getattr(getattr(stack, service), method)
        return await _answer(stub, request, bearer(token))

    return call


def at_retrieval(method: str, **fields: object) -> Call:
    async def call(stack: Stack, _target: str, grant: str) -> Any:
        request = getattr(retrieval_pb2, f"{method}Request")(grant=grant, **fields)
        return await _answer(getattr(stack.retrieval, method), request, ())

    return call


async def _answer(stub: Any, request: Message, metadata: Any) -> Any:
    if isinstance(stub, grpc.aio.StreamStreamMultiCallable):
        return [answer async for answer in stub(iter([request]), metadata=metadata, timeout=SEARCH_SECONDS)]
    return await stub(request, metadata=metadata, timeout=SEARCH_SECONDS)


QUERY = query_pb2.Query(text="plans")
BATCH_QUERY = batch_pb2.BatchQuery(query=QUERY, k=1)
OTHER_QUERY = batch_pb2.BatchQuery(query=QUERY, k=1, collection_id="other")
ROW = document("new", "plans", "PUBLIC")
LABEL = label_pb2.Label(sensitivity=1, topics=["marketing"])
CHANGE = label_pb2.LabelChange(sensitivity=1)
GATEWAY = {
    "SearchDocuments": [
        at_gateway("SearchDocuments", query=QUERY, k=1),
        at_gateway("SearchDocuments", query=QUERY, k=1, fallback=gateway_pb2.FALLBACK_MOCK),
        at_gateway("SearchDocuments", query=query_pb2.Query(vector=query_pb2.Vector(values=[1.0])), k=1),
        at_gateway("SearchDocuments", query=QUERY, k=1, include_embeddings=True, collection_id="other"),
    ],
    "SearchDocumentsBatch": [
        at_gateway("SearchDocumentsBatch", queries=[BATCH_QUERY]),
        at_gateway("SearchDocumentsBatch", queries=[BATCH_QUERY] * 2, fallback=gateway_pb2.FALLBACK_MOCK),
        at_gateway("SearchDocumentsBatch", queries=[BATCH_QUERY, OTHER_QUERY], include_embeddings=True),
    ],
    "ImportDocuments": [at_gateway("ImportDocuments", documents=[ROW])],
    "GetDocuments": [at_gateway("GetDocuments", document_ids=["row"])],
    "DeleteDocuments": [
        at_gateway("DeleteDocuments", document_ids=["row"]),
        at_gateway("DeleteDocuments", whole_collection=True),
    ],
    "RelabelDocuments": [at_gateway("RelabelDocuments", whole_collection=True, change=CHANGE)],
    "ListCollections": [at_gateway("ListCollections")],
    "ListLabels": [at_gateway("ListLabels")],
    "ListDocumentIds": [at_gateway("ListDocumentIds"), at_gateway("ListDocumentIds", collection_id="other")],
    "ListSources": [at_gateway("ListSources"), at_gateway("ListSources", collection_id="other")],
    "ExportDocuments": [at_gateway("ExportDocuments")],
    "RereadTenant": [at_gateway("RereadTenant")],
    "ExplainAccess": [
        at_gateway("ExplainAccess", action=READ, label=LABEL),
        at_gateway("ExplainAccess", action=WRITE, label=LABEL),
    ],
    "CountViolations": [at_gateway("CountViolations")],
    "GetPolicyStatus": [at_gateway("GetPolicyStatus")],
    "ListViolations": [at_gateway("ListViolations"), at_gateway("ListViolations", page_token="no token")],
    "ListForeignAccess": [at_gateway("ListForeignAccess"), at_gateway("ListForeignAccess", page_token="no token")],
    "GetTenantUsage": [at_gateway("GetTenantUsage")],
}
POLICY = {
    "PlanAccess": [at_policy("PlanAccess", action=action) for action in (READ, WRITE, CONFIGURE)],
    "CheckDocuments": [at_policy("CheckDocuments", action=READ, labels=[LABEL])],
    "ExplainAccess": [at_policy("ExplainAccess", action=READ, label=LABEL)],
    "CountViolations": [at_policy("CountViolations")],
    "GetPolicyStatus": [at_policy("GetPolicyStatus")],
    "ListViolations": [at_policy("ListViolations")],
    "ListForeignAccess": [at_policy("ListForeignAccess")],
    "GetTenantLimits": [at_policy("GetTenantLimits")],
}
OF_NO_TENANT = {"ReportForeignAccess"}
"""Takes grants, which say themselves whose they are."""
RETRIEVAL = {
    "SearchDocuments": [
        at_retrieval("SearchDocuments", query=QUERY, k=1),
        at_retrieval("SearchDocuments", query=QUERY, k=1, include_embeddings=True),
    ],
    "SearchDocumentsBatch": [
        at_retrieval("SearchDocumentsBatch", queries=[BATCH_QUERY, OTHER_QUERY]),
        at_retrieval("SearchDocumentsBatch", queries=[BATCH_QUERY], include_embeddings=True),
    ],
    "ImportDocuments": [at_retrieval("ImportDocuments", documents=[ROW])],
    "GetDocuments": [at_retrieval("GetDocuments", document_ids=["row"])],
    "DeleteDocuments": [
        at_retrieval("DeleteDocuments", document_ids=["row"]),
        at_retrieval("DeleteDocuments", whole_collection=True),
    ],
    "RelabelDocuments": [at_retrieval("RelabelDocuments", whole_collection=True, change=CHANGE)],
    "ListCollections": [at_retrieval("ListCollections")],
    "ListLabels": [at_retrieval("ListLabels")],
    "ListDocumentIds": [at_retrieval("ListDocumentIds")],
    "ListSources": [at_retrieval("ListSources")],
    "ExportDocuments": [at_retrieval("ExportDocuments"), at_retrieval("ExportDocuments", moment="1", page_token="a:b")],
    "RereadTenant": [at_retrieval("RereadTenant")],
    "GetStoredSize": [at_retrieval("GetStoredSize")],
}


async def what_is_told(call: Call, stack: Stack, target: str, pass_: str) -> tuple[object, ...]:
    """All that the caller is told, without what is different each time: status, message, details, trailers."""
    try:
        answers = await call(stack, target, pass_)
    except grpc.aio.AioRpcError as error:
        return (
            error.code(),
            _nameless((error.details() or "").encode(), target),
            _trailers(error.initial_metadata(), target),
            _trailers(error.trailing_metadata(), target),
        )
    for answer in answers if isinstance(answers, list) else [answers]:
        explanation = answer.explanation if "explanation" in answer.DESCRIPTOR.fields_by_name else answer
        assert isinstance(explanation, policy_pb2.ExplainAccessResponse), f"{target} answered a stranger: {answer}"
        assert explanation.decision == access_pb2.DECISION_WITHHOLD
        assert len(explanation.incident_id) == len("0" * 32)
        explanation.incident_id = ""
    return (_nameless(answers.SerializeToString(deterministic=True), target),)


def _trailers(metadata: Any, target: str) -> dict[str, bytes]:
    told = {key: value if isinstance(value, bytes) else value.encode() for key, value in metadata or ()}
    return {
        key: b"" if key in {"date", "x-request-id", "request-id"} else _nameless(value, target)
        for key, value in told.items()
    }


def _nameless(told: bytes, target: str) -> bytes:
    return told.replace(target.encode(), ANY_NAME)


WITHOUT_A_GRANT = {"DescribeShard"}
"""Shards ask it of one another, and tell of no tenant by name (tests/rpc/shards); with TLS nobody else may."""


def test_every_method_is_asked() -> None:
    services: list[tuple[ServiceDescriptor, Mapping[str, object]]] = [
        (gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"], GATEWAY),
        (policy_pb2.DESCRIPTOR.services_by_name["PolicyService"], POLICY),
        (retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"], RETRIEVAL),
    ]
    for service, asked in services:
        assert asked.keys() == set(service.methods_by_name) - OF_NO_TENANT - WITHOUT_A_GRANT, service.name


@pytest.fixture
async def all_states(tmp_path: Path) -> AsyncIterator[Stack]:
    async with targets(tmp_path) as stack:
        yield stack


async def test_threat_24_to_a_stranger_all_tenants_look_alike(all_states: Stack) -> None:
    stack = all_states
    for role, clearance in (
        ("guest", "PUBLIC"),
        ("analyst", "INTERNAL"),
        ("superuser", "CONFIDENTIAL"),
        ("admin", "SECRET"),
    ):
        token = stack.issuer.token("tenant_a", role, clearance, "mallory")
        for calls in (GATEWAY, POLICY):
            for method, several in calls.items():
                for call in several:
                    told = {target: await what_is_told(call, stack, target, token) for target in [ABSENT, *LISTED]}
                    assert len({str(each) for each in told.values()}) == 1, (role, method, told)
                    if method != "ExplainAccess":
                        assert told[ABSENT][0] is grpc.StatusCode.PERMISSION_DENIED, (role, method, told)
    asked = sum(len(several) for calls in (GATEWAY, POLICY) for several in calls.values())

    def is_recorded() -> bool:
        recorded = Counter(decision.tenant_id for decision in read_decisions(stack.audit_file))
        return all(recorded[target] >= 4 * asked for target in [ABSENT, *LISTED])

    await until(is_recorded)


async def test_threat_24_in_their_own_tenant_too_the_role_is_asked_before_its_state(all_states: Stack) -> None:
    """Analysts may neither write, delete nor configure, whatever has become of the tenant."""
    stack = all_states
    forbidden = (
        "ImportDocuments",
        "DeleteDocuments",
        "RelabelDocuments",
        "ListLabels",
        "RereadTenant",
        "GetPolicyStatus",
        "CountViolations",
        "GetTenantUsage",
    )
    for method in forbidden:
        told = {}
        for target in LISTED:
            token = stack.issuer.token(target, "analyst", "INTERNAL", "alice")
            told[target] = await what_is_told(GATEWAY[method][0], stack, target, token)
        assert len({str(each) for each in told.values()}) == 1, (method, told)
        assert told[FOREIGN][0] is grpc.StatusCode.PERMISSION_DENIED


async def test_threat_24_without_a_grant_that_fits_retrieval_tells_of_no_tenant(all_states: Stack) -> None:
    stack = all_states
    strange_key = stack.issuer.key
    for make in (
        lambda _target, _action: "",
        lambda _target, _action: "no grant",
        lambda target, action: forged(strange_key, target, action),
        lambda target, action: stack_signed(stack, target, action, expired=True),
        lambda target, action: stack_signed(stack, target, another(action), expired=False),
    ):
        for method, several in RETRIEVAL.items():
            for call in several:
                told = {}
                for target in [ABSENT, *LISTED]:
                    told[target] = await what_is_told(call, stack, target, make(target, ACTION_OF[method]))
                assert len({str(each) for each in told.values()}) == 1, (method, told)
                assert told[ABSENT][0] is grpc.StatusCode.UNAUTHENTICATED, (method, told)


async def test_threat_24_embeddings_are_refused_before_the_flag_is_looked_at(all_states: Stack) -> None:
    stack = all_states
    for call in (
        RETRIEVAL["SearchDocuments"][1],
        RETRIEVAL["SearchDocumentsBatch"][1],
        RETRIEVAL["ExportDocuments"][0],
    ):
        told = {
            target: await what_is_told(call, stack, target, stack_signed(stack, target, Action.READ, expired=False))
            for target in [ABSENT, *LISTED]
        }
        assert len({str(each) for each in told.values()}) == 1, told
        assert told[ABSENT][0] is grpc.StatusCode.PERMISSION_DENIED


ACTION_OF = {
    "ImportDocuments": Action.WRITE,
    "DeleteDocuments": Action.DELETE,
    "RelabelDocuments": Action.WRITE,
    "ListLabels": Action.CONFIGURE,
    "RereadTenant": Action.CONFIGURE,
    "GetStoredSize": Action.CONFIGURE,
    **dict.fromkeys(
        (
            "SearchDocuments",
            "SearchDocumentsBatch",
            "GetDocuments",
            "ListCollections",
            "ListDocumentIds",
            "ListSources",
            "ExportDocuments",
        ),
        Action.READ,
    ),
}


def another(action: Action) -> Action:
    return Action.DELETE if action is not Action.DELETE else Action.READ


def stack_signed(stack: Stack, tenant_id: str, action: Action, *, expired: bool) -> str:
    """A grant by the key that signs now, of a caller who may not configure."""
    return GrantSigner.from_file(stack.issuer.grant_key_file).sign(_grant(tenant_id, action, expired=expired))


def forged(key: Ed25519PrivateKey, tenant_id: str, action: Action) -> str:
    """A grant by somebody else's key."""
    return GrantSigner(key, thumbprint(key)).sign(_grant(tenant_id, action, expired=False))


def _grant(tenant_id: str, action: Action, *, expired: bool) -> Grant:
    return Grant(
        subject="mallory",
        caller_tenant_id="tenant_a",
        role="analyst",
        tenant_id=tenant_id,
        action=action,
        residual=permit(),
        may_configure=False,
        policy_version="1",
        expires_at=time.time() + (-60 if expired else 60),
    )
