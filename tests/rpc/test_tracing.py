"""One search is one trace over all hops, seen by a collector; no content is in it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from support.stack import document, running_stack

QUESTION = "a very particular question"
TEXT = "a very particular answer"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans of each service."""

    def __init__(self) -> None:
        self.received: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.received.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def facts(self, service_name: str, span_name: str) -> dict[str, str | int | bool]:
        """What the one span of this service and name says beside its times, by attributes of ours."""
        [span] = [
            span
            for request in self.received
            for resource in request.resource_spans
            if any(item.value.string_value == service_name for item in resource.resource.attributes)
            for scope in resource.scope_spans
            for span in scope.spans
            if span.name.endswith(span_name) and span.kind == span.SPAN_KIND_SERVER
        ]
        return {
            item.key.removeprefix("vecsec."): getattr(item.value, str(item.value.WhichOneof("value")))
            for item in span.attributes
            if item.key.startswith("vecsec.") and item.key != "vecsec.request_id"
        }

    def traces(self, span_name: str) -> dict[str, set[bytes]]:
        """Trace ids of the spans of this name, by service."""
        found: dict[str, set[bytes]] = {}
        for request in self.received:
            for resource in request.resource_spans:
                names = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.name.endswith(span_name):
                            found.setdefault(names["service.name"], set()).add(span.trace_id)
        return found


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector in threads of its own, as a collector is a process of its own."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield collector, f"http://localhost:{port}"
    server.stop(0).wait()


async def test_one_search_is_one_trace(tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        async with running_stack(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as stack:
            await stack.load("tenant_a", document("a", TEXT))
            assert await stack.ids(stack.issuer.token(), "tenant_a", QUESTION) == ["a"]
        # Leaving the stack has flushed what was still unsent.
        searches, checks = collector.traces("SearchDocuments"), collector.traces("CheckDocuments")
        [trace_id] = searches["vecsec-gateway"]
        assert searches["vecsec-retrieval"] == {trace_id}
        assert trace_id in checks["vecsec-policy"]
        policy_version = collector.facts("vecsec-gateway", "SearchDocuments").get("policy")
        assert policy_version
        assert collector.facts("vecsec-gateway", "SearchDocuments") == {
            "provenance": "real",
            "result_count": 1,
            "withheld_count": 0,
            "policy": policy_version,
        }
        assert collector.facts("vecsec-retrieval", "SearchDocuments") == {
            "strategy": "exact_scan",
            "result_count": 1,
            "filtered_count": 0,
        }
        exported = b"".join(request.SerializeToString() for request in collector.received)
        assert QUESTION.encode() not in exported
        assert TEXT.encode() not in exported


async def test_without_an_endpoint_nothing_is_sent(tmp_path: Path) -> None:
    with collecting() as (collector, _):
        async with running_stack(tmp_path) as stack:
            await stack.ids(stack.issuer.token(), "tenant_a", QUESTION)
        assert not collector.received
