"""What travels with a call to a peer, and the span around it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, StatusCode, Tracer

from vecsec_chassis.calls import Call, enter
from vecsec_gateway.peers.call import traced


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    enter(Call(method="/m", request_id="request-1", deadline=None))
    return provider


@contextmanager
def recorded_call(tracer: Tracer) -> Iterator[Span]:
    with tracer.start_as_current_span("server", record_exception=False) as span:
        enter(Call(method="/m", request_id="request-1", deadline=None, span=span, is_traced=True))
        yield span


def test_the_peer_continues_the_trace(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    tracer = provider.get_tracer("test")
    with recorded_call(tracer) as server, traced(tracer, "Peer/Call") as metadata:
        sent = dict(metadata)
    client = next(span for span in exporter.get_finished_spans() if span.name == "Peer/Call")
    assert client.context is not None
    assert sent["x-request-id"] == "request-1"
    assert sent["traceparent"].split("-")[1:3] == [
        f"{server.get_span_context().trace_id:032x}",
        f"{client.context.span_id:016x}",
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (
            grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()),
            StatusCode.ERROR,
        ),
        (asyncio.CancelledError(), StatusCode.UNSET),
    ],
)
def test_the_span_ends_however_the_call_does(
    provider: TracerProvider, exporter: InMemorySpanExporter, error: BaseException, status: StatusCode
) -> None:
    tracer = provider.get_tracer("test")

    def call() -> None:
        with recorded_call(tracer), traced(tracer, "Peer/Call"):
            raise error

    with pytest.raises(type(error)):
        call()
    client = next(span for span in exporter.get_finished_spans() if span.name == "Peer/Call")
    assert client.status.status_code is status


def test_where_nothing_is_recorded_no_span_is_made(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    with traced(provider.get_tracer("test"), "Peer/Call") as metadata:
        assert dict(metadata)["x-request-id"] == "request-1"
    assert not exporter.get_finished_spans()
