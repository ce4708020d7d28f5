"""Whatever a call is given, nothing comes out of it but an answer or a `VecSecError` that names the field or the
request."""

import copy
import inspect
import pickle
import re
from typing import Any

import grpc
import pytest
from support.client_caller import Caller, MakeCaller
from support.fake_gateway import Failure, FakeGateway

import vecsec_client
from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2
from vecsec_client import NO_RETRIES, AsyncVecSecClient, DocumentInput, InvalidArgument, VecSecClient, VecSecError
from vecsec_client.results import RejectedDocument

ODD = (object(), 5, -1, 10**40, float("nan"), float("inf"), "x", "\ud800", b"x", [], ["x"], [5], {}, {"a": object()})
CALLS = {
    "search": {"query": "x"},
    "get_documents": {"document_ids": ["x"]},
    "delete_documents": {"document_ids": ["x"]},
    "explain_access": {"sensitivity": "PUBLIC", "topics": ["rag"]},
} | {
    name: {}
    for name in (
        *("list_collections", "list_labels", "reread_tenant", "list_document_ids", "export_documents"),
        *("count_documents", "relabel_documents"),
        *("policy_status", "tenant_usage", "count_violations", "list_violations", "list_foreign_access"),
    )
}

RPC_OF = {
    "count_documents": "ListDocumentIds",
    "search": "SearchDocuments",
    "policy_status": "GetPolicyStatus",
    "tenant_usage": "GetTenantUsage",
}


@pytest.mark.parametrize("method", CALLS)
async def test_odd_arguments_are_told_by_name(make_caller: MakeCaller, gateway: FakeGateway, method: str) -> None:
    caller = make_caller(retry_policy=NO_RETRIES)
    name = RPC_OF.get(method, "".join(part.capitalize() for part in method.split("_")))
    gateway.answers[name] = vars(gateway_pb2)[f"{name}Response"]()
    for parameter in list(inspect.signature(getattr(VecSecClient, method)).parameters)[1:]:
        for odd in ODD:
            try:
                await caller.call(method, **{**CALLS[method], parameter: odd})
            except InvalidArgument as error:
                assert error.violations, (parameter, odd)
            except VecSecError as error:
                assert error.request_id, (parameter, odd)


def test_values_of_a_filter_that_are_no_list_are_told() -> None:
    with pytest.raises(InvalidArgument, match=r"values: must be a list, not 5"):
        vecsec_client.in_("k", 5)  # type: ignore[arg-type]


async def test_a_client_that_is_closed_while_it_asks_for_a_token_is_told() -> None:
    def closes_it() -> str:
        blocking.close()
        return "t"

    async def closes_it_too() -> str:
        await asynchronous.close()
        return "t"

    blocking = VecSecClient("localhost:1", token=closes_it, default_tenant="tenant_a")
    with pytest.raises(VecSecError, match="is closed; make another one"):
        blocking.search("x")
    asynchronous = AsyncVecSecClient("localhost:1", token=closes_it_too, default_tenant="tenant_a")
    with pytest.raises(VecSecError, match="is closed; make another one"):
        await asynchronous.search("x")


@pytest.mark.parametrize("odd", [None, 5, DocumentInput(document_id="a", text="t"), ["x"], [{"document_id": "a"}]])
async def test_what_is_no_document_is_told(make_caller: MakeCaller, odd: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"documents.*DocumentInput") as caught:
        await make_caller().call("import_documents", odd)
    assert caught.value.request_id == ""


async def test_errors_name_the_request_whose_logs_tell_more(caller: Caller, gateway: FakeGateway) -> None:
    gateway.failures.append(Failure(grpc.StatusCode.INTERNAL, "a fault", reason="INTERNAL"))
    with pytest.raises(vecsec_client.Internal) as caught:
        await caller.call("list_collections")
    request_id = gateway.received[0].metadata["x-request-id"]
    assert str(caught.value) == f"a fault (request {request_id})"
    assert caught.value.message == "a fault"


async def test_errors_of_an_import_name_it_too(caller: Caller, gateway: FakeGateway) -> None:
    gateway.refusal_of = lambda document: ("topics", "not yours")
    document = DocumentInput(document_id="a", text="t", sensitivity="PUBLIC", topics=["rag"])
    with pytest.raises(vecsec_client.DocumentsRejected, match=r"document 0 \('a'\): topics: not yours") as caught:
        await caller.call("import_documents", [document], strict=True)
    assert caught.value.request_id == gateway.received[0].metadata["x-request-id"]
    assert re.search(r"\(request \w+\)$", str(caught.value))


def test_errors_survive_the_way_between_processes() -> None:
    refused = vecsec_client.DocumentsRejected(
        [RejectedDocument(index=0, document_id="a", field="text", reason="is empty")]
    )
    nothing = vecsec_client.RealRetrievalUnavailable("off", mock_reason=vecsec_client.MockReason.FLAG_OFF)
    for error in (refused, nothing, vecsec_client.NotFound("gone", request_id="r1")):
        for same in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert (type(same), str(same), vars(same)) == (type(error), str(error), vars(error))
