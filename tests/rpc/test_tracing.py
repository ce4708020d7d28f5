"""One search is one trace over all hops, seen by a collector; no content is in it."""

from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2
from support.collector import Attributes, Collector, collecting, own_attributes
from support.gateway_calls import search
from support.gateway_peers import gateway_with_peers
from support.refusals import refusal
from support.stack import document, running_stack

from vecsec.gateway.v1 import gateway_service_pb2 as gateway_pb2

OK, DENIED, UNAVAILABLE = (
    code.value[0] for code in (grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE)
)
UNSET, ERROR = trace_pb2.Status.STATUS_CODE_UNSET, trace_pb2.Status.STATUS_CODE_ERROR
SERVER, CLIENT = trace_pb2.Span.SPAN_KIND_SERVER, trace_pb2.Span.SPAN_KIND_CLIENT
QUESTION = "a very particular question"
TEXT = "a very particular answer"


def traces(collector: Collector, span_name: str) -> dict[str, set[bytes]]:
    """Trace ids of the spans of this name, by service."""
    found: dict[str, set[bytes]] = {}
    for service, span in collector.spans():
        if span.name.endswith(span_name):
            found.setdefault(service, set()).add(span.trace_id)
    return found


def attributes(collector: Collector, service_name: str, span_name: str) -> Attributes:
    """What VecSec put on the one span by which a service serves this call."""
    [found] = [
        own_attributes(span)
        for service, span in collector.spans()
        if service == service_name and span.name.endswith(span_name) and span.kind == span.SPAN_KIND_SERVER
    ]
    return found


def facts(found: Attributes) -> Attributes:
    """All but times and the request's id."""
    return {name: value for name, value in found.items() if not name.endswith("_us") and name != "request_id"}


def times(found: Attributes) -> set[str]:
    """Of what it is said how long it took: longer than nothing."""
    taken = {name: value for name, value in found.items() if name.endswith("_us")}
    assert all(isinstance(value, float) and value > 0 for value in taken.values()), taken
    return taken.keys()


async def test_one_search_is_one_trace(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        async with running_stack(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as stack:
            await stack.load("tenant_a", document("a", TEXT))
            assert await stack.ids(stack.issuer.token(), "tenant_a", QUESTION) == ["a"]
        # Leaving the stack has flushed what was still unsent.
        searches, checks = traces(collector, "SearchDocuments"), traces(collector, "CheckDocuments")
        [trace_id] = searches["vecsec-gateway"]
        assert searches["vecsec-retrieval"] == {trace_id}
        assert trace_id in checks["vecsec-policy"]
        gateway = attributes(collector, "vecsec-gateway", "SearchDocuments")
        retrieval = attributes(collector, "vecsec-retrieval", "SearchDocuments")
        assert gateway["policy"]
        assert facts(gateway) == {
            "provenance": "real",
            "result_count": 1,
            "withheld_count": 0,
            "policy": gateway["policy"],
        }
        assert facts(retrieval) == {"mode": "hybrid", "strategy": "exact_scan", "result_count": 1, "filtered_count": 0}
        assert times(gateway) == {"token_us"}
        assert times(retrieval) == {"grant_us", "mask_us", "scan_us"}
        exported = b"".join(request.SerializeToString() for request in collector.received)
        assert QUESTION.encode() not in exported
        assert TEXT.encode() not in exported


async def test_without_an_endpoint_nothing_is_sent(tmp_path: Path) -> None:
    with collecting() as (collector, _):
        async with running_stack(tmp_path) as stack:
            await stack.ids(stack.issuer.token(), "tenant_a", QUESTION)
        assert not collector.received


def ends(collector: Collector, method: str) -> dict[tuple[str, int], set[tuple[int, int]]]:
    """How calls of a method ended, by service and kind of span: gRPC's code, and the span's own status."""
    found: dict[tuple[str, int], set[tuple[int, int]]] = {}
    for service, span in collector.spans():
        attributes = {item.key: item.value for item in span.attributes}
        if span.name.endswith(f"/{method}"):
            assert span.name == f"{attributes['rpc.service'].string_value}/{method}"
            assert attributes["rpc.method"].string_value == method
            assert attributes["rpc.system"].string_value == "grpc"
            code = attributes["rpc.grpc.status_code"].int_value
            found.setdefault((service, span.kind), set()).add((code, span.status.code))
    return found


async def test_spans_say_how_calls_ended_on_both_sides(tmp_path: Path) -> None:
    """Denials are no errors of the server's, and errors to whoever called."""
    with collecting() as (collector, endpoint):
        async with running_stack(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as stack:
            await stack.load("tenant_a", document("a", TEXT))
            assert await stack.ids(stack.issuer.token(), "tenant_a", QUESTION) == ["a"]
            with pytest.raises(grpc.aio.AioRpcError):
                await stack.ids(stack.issuer.token(), "tenant_b", QUESTION)
        plans, searches = ends(collector, "PlanAccess"), ends(collector, "SearchDocuments")
        assert plans["vecsec-policy", SERVER] == {(OK, UNSET), (DENIED, UNSET)}
        assert plans["vecsec-gateway", CLIENT] == {(OK, UNSET), (DENIED, ERROR)}
        assert searches["vecsec-gateway", SERVER] == {(OK, UNSET), (DENIED, UNSET)}
        assert searches["vecsec-gateway", CLIENT] == {(OK, UNSET)}
        assert searches["vecsec-retrieval", SERVER] == {(OK, UNSET)}
        versions = {
            item.value.string_value
            for request in collector.received
            for resource in request.resource_spans
            for item in resource.resource.attributes
            if item.key == "service.version"
        }
        assert versions == {version("vecsec")}


async def test_an_outage_is_an_error_of_both(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        async with gateway_with_peers(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as gateway:
            await gateway.retrieval_server.stop(0)
            assert (
                await refusal(search(gateway, fallback=gateway_pb2.FALLBACK_NONE))
            ).code == grpc.StatusCode.UNAVAILABLE
        searches = ends(collector, "SearchDocuments")
        assert searches["vecsec-gateway", SERVER] == {(UNAVAILABLE, ERROR)}
        assert searches["vecsec-gateway", CLIENT] == {(UNAVAILABLE, ERROR)}
