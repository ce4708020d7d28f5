"""A collector of traces: the OTLP service, whose spans are looked at."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

Attributes = dict[str, str | int | float | bool]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans of each service."""

    def __init__(self) -> None:
        self.received: list[trace_service_pb2.ExportTraceServiceRequest] = []

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.received.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> Iterator[tuple[str, trace_pb2.Span]]:
        """Every span, with the name of its service."""
        for request in self.received:
            for resource in request.resource_spans:
                names = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield names["service.name"], span


def own_attributes(span: trace_pb2.Span) -> Attributes:
    """What VecSec put on a span."""
    return {
        item.key.removeprefix("vecsec."): getattr(item.value, str(item.value.WhichOneof("value")))
        for item in span.attributes
        if item.key.startswith("vecsec.")
    }


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector in threads of its own, as a collector is a process of its own; and its endpoint."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://localhost:{port}"
    server.stop(0).wait()
