"""HTTP and JSON by a real Envoy, configured as deploy/http is: the gateway's own answers, refusals and limits."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from support.background_loop import BackgroundLoop
from support.envoy import HTTP, ROOT, running_envoy
from support.stack import Stack, running_stack

from vecsec.gateway.v1 import gateway_service_pb2

pytestmark = pytest.mark.envoy

OPENAPI: dict[str, Any] = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())
TENANT = "/v1/tenants/tenant_a"
DOCUMENTS = f"{TENANT}/collections/documents/documents"
LABEL = {"sensitivity": "SENSITIVITY_SECRET", "topics": ["rag"]}
MERGER = {"documentId": "merger", "text": "The merger closes in May.", **LABEL}
RANKING = {"documentId": "ranking", "text": "Ranking is by cosine.", **LABEL, "sensitivity": "SENSITIVITY_PUBLIC"}
SEARCH = {"query": {"text": "when does the merger close?"}, "k": 5}
CLEARANCES = {"guest": "PUBLIC", "admin": "SECRET"}
Caller = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with ExitStack() as leaving:
        loop = BackgroundLoop()
        leaving.callback(loop.close)
        running, leave = loop.enter(running_stack(tmp_path_factory.mktemp("stack")))
        leaving.callback(leave)
        yield running


@pytest.fixture(scope="module")
def call(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """Calls by HTTP as a role of tenant_a, or with headers of one's own; two documents are there."""
    folder: Path = tmp_path_factory.mktemp("envoy")
    with running_envoy(folder, stack.gateway_service.port) as address, httpx.Client(base_url=address) as client:

        def send(method: str, path: str, role: str = "admin", **request: Any) -> httpx.Response:
            token = stack.issuer.token("tenant_a", role, CLEARANCES[role], role)
            headers = {"authorization": f"Bearer {token}", **request.pop("headers", {})}
            return client.request(method, path, headers=headers, timeout=60, **request)

        stored = send("POST", f"{DOCUMENTS}:import", json=[{"documents": [MERGER, RANKING]}])
        assert [each["storedCount"] for each in stored.json()] == [2], stored.text
        yield send


def ids(answer: httpx.Response) -> list[str]:
    return [each["document"]["documentId"] for each in answer.json()["results"]]


def refused(answer: httpx.Response, status: int, code: int) -> str:
    """What a refusal says, in the one form that all have."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    said = answer.json()
    assert OAS31Validator(schema_of("google.rpc.Status")).is_valid(said)
    assert said["code"] == code, said
    return str(said["message"])


def schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}


def test_two_users_of_one_proxy_see_what_each_may_read(call: Caller) -> None:
    for _ in range(3):  # one after the other, over connections that the proxy keeps
        assert ids(call("POST", f"{DOCUMENTS}:search", json=SEARCH)) == ["merger", "ranking"]
        assert ids(call("POST", f"{DOCUMENTS}:search", "guest", json=SEARCH)) == ["ranking"]
    by_query = call(
        "GET", f"{DOCUMENTS}:batchGet", "guest", params=[("documentIds", "merger"), ("documentIds", "ranking")]
    )
    assert [each["documentId"] for each in by_query.json()["documents"]] == ["ranking"]


def test_refusals_of_the_gateway_come_as_http_knows_them(call: Caller) -> None:
    nobody = call("POST", f"{DOCUMENTS}:search", json=SEARCH, headers={"authorization": ""})
    assert "authorization: Bearer" in refused(nobody, 401, 16)
    forged = call("POST", f"{DOCUMENTS}:search", json=SEARCH, headers={"authorization": "Bearer x"})
    assert forged.json()["details"][0]["reason"] == "INVALID_TOKEN"
    other_tenant = call("POST", f"{DOCUMENTS.replace('tenant_a', 'tenant_b')}:search", json=SEARCH)
    assert "tenant 'tenant_b'" in refused(other_tenant, 403, 7)
    assert "write" in refused(call("POST", f"{DOCUMENTS}:import", "guest", json=[{"documents": [RANKING]}]), 403, 7)
    no_rows = call("POST", f"{DOCUMENTS}:search", json={**SEARCH, "k": 0})
    refused(no_rows, 400, 3)
    assert no_rows.json()["details"][1]["fieldViolations"][0]["field"] == "k"
    refused(call("POST", f"{DOCUMENTS}:search", json=SEARCH, headers={"grpc-timeout": "1n"}), 504, 4)
    large = {**SEARCH, "query": {"text": "x" * 2_000_000}}
    assert "send less at once" in refused(call("POST", f"{DOCUMENTS}:search", json=large), 400, 3)
    larger = {**SEARCH, "query": {"text": "x" * 5_000_000}}
    assert "Payload Too Large" in refused(call("POST", f"{DOCUMENTS}:search", json=larger), 413, 3)


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "code"),
    [
        ("GET", "/", {}, 404, 5),
        ("DELETE", f"{DOCUMENTS}:search", {}, 404, 5),
        ("POST", "/vecsec.policy.v1.PolicyService/PlanAccess", {"json": {}}, 404, 5),
        ("GET", f"{DOCUMENTS}:batchGet", {"params": {"documentIds": "ranking", "document": "merger"}}, 400, 3),
        ("POST", f"{DOCUMENTS}:search", {"json": {**SEARCH, "tenant_id": "tenant_b"}}, 400, 3),
        ("POST", f"{DOCUMENTS}:search", {"json": {**SEARCH, "fallback": "NONE"}}, 400, 3),
        ("POST", f"{DOCUMENTS}:search", {"content": b"{nope"}, 400, 3),
        ("POST", f"{DOCUMENTS}:import", {"json": {"documents": [RANKING]}}, 400, 3),
    ],
)
def test_what_the_contract_has_not_is_refused_by_the_proxy_in_the_same_form(
    call: Caller, method: str, path: str, request_: dict[str, Any], status: int, code: int
) -> None:
    assert refused(call(method, path, **request_), status, code)


def test_an_import_of_several_batches_says_by_fewer_answers_that_it_ended(call: Caller) -> None:
    """What the page warns of: names of the path hold for the first batch, and the status had been sent before."""
    batch = {"documents": [RANKING]}
    named = {"tenantId": "tenant_a", "collectionId": "documents", **batch}
    assert len(call("POST", f"{DOCUMENTS}:import", json=[named, named]).json()) == 2
    ended = call("POST", f"{DOCUMENTS}:import", json=[batch, batch])
    assert (ended.status_code, len(ended.json())) == (200, 1)


def test_every_method_has_its_place_and_the_document_is_openapi(call: Caller) -> None:
    validate(OPENAPI)  # type: ignore[arg-type]
    methods = gateway_service_pb2.DESCRIPTOR.services_by_name["GatewayService"].methods
    names = {each["operationId"] for path in OPENAPI["paths"].values() for each in path.values()}
    assert {method.name for method in methods} <= names
    assert all(method.GetOptions().HasExtension(annotations_pb2.http) for method in methods)
    served = descriptor_pb2.FileDescriptorSet.FromString((HTTP / "gateway.binpb").read_bytes())
    assert "vecsec/gateway/v1/gateway_service.proto" in {file.name for file in served.file}
    assert not [file.name for file in served.file if file.name.startswith(("buf/", "vecsec/retrieval", "vecsec/lane"))]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("collections", None),
        ("labels", None),
        ("documents:export", None),
        ("violations:count", None),
        ("violations", None),
        ("policy", None),
        ("foreignAccess", None),
        ("usage", None),
        ("collections/documents/documents:listIds?includeCount=true", None),
        ("collections/documents/documents:batchGet?documentIds=ranking", None),
        ("collections/documents/documents:batchGet", {"documentIds": ["ranking"]}),
        ("collections/documents/documents:listIds", {"pageSize": 1}),
        ("collections/documents/documents:search", SEARCH),
        (
            "collections/documents/documents:relabel",
            {"wholeCollection": True, "dryRun": True, "change": {"topics": ["rag"]}},
        ),
        ("collections/documents/documents:batchDelete", {"dryRunIds": ["ranking"], "dryRun": True}),
        (
            "access:explain",
            {
                "action": "ACTION_READ",
                "label": {**LABEL, "tenantId": "tenant_a"},
            },
        ),
    ],
)
def test_answers_and_requests_are_as_the_document_says(call: Caller, path: str, body: dict[str, Any] | None) -> None:
    verb = "get" if body is None else "post"
    answer = call(verb.upper(), f"{TENANT}/{path}", **({} if body is None else {"json": body}))
    assert answer.status_code == 200, answer.text
    template = "/v1/tenants/{tenantId}/" + path.partition("?")[0].replace(
        "collections/documents", "collections/{collectionId}"
    )
    operation = OPENAPI["paths"][template][verb]
    _check(operation["responses"]["200"]["content"], answer.json())
    if body is not None:
        _check(operation["requestBody"]["content"], body)


def _check(content: dict[str, Any], value: object) -> None:
    OAS31Validator({**content["application/json"]["schema"], "components": OPENAPI["components"]}).validate(value)


def test_the_document_refuses_names_that_the_proxy_would_leave_out() -> None:
    """Envoy leaves out what a body has and the contract has not: a misspelt filter would be no filter."""
    request = OAS31Validator(schema_of("vecsec.gateway.v1.SearchDocumentsRequest"))
    assert request.is_valid(SEARCH)
    assert not request.is_valid({**SEARCH, "filters": {}})
