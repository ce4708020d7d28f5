"""Metrics and traces of one service: OpenTelemetry, shown to Prometheus on the service's metrics port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from wsgiref.simple_server import WSGIServer

import structlog
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.telemetry.version import service_version

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a service measures and traces with. Each service has its own, also where several share a process."""

    service: str
    meter: Meter
    tracer: Tracer
    tracer_provider: TracerProvider
    is_tracing: bool
    """Whether traces are recorded; where they are not, calls are not even looked at."""
    metrics_port: int
    """Where Prometheus finds the metrics."""


@contextmanager
def running_telemetry(
    service: str, *, address: str, metrics_port: int, otlp_endpoint: str | None
) -> Iterator[Telemetry]:
    """Serve metrics and export traces until the block ends; what is still unsent is flushed then.

    Without an endpoint there are no traces, which saves a tenth of a search; request ids are passed on all the same.

    Raises:
        ConfigurationError: if the metrics port cannot be listened on.
    """
    resource = Resource.create({SERVICE_NAME: f"vecsec-{service}", SERVICE_VERSION: service_version()})
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if otlp_endpoint:
        exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=otlp_endpoint.startswith("http://"))
        tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)  # memory, processor time and open files, read when Prometheus asks
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    meter_provider = MeterProvider(
        metric_readers=[reader],
        resource=resource,
        shutdown_on_exit=False,
        exemplar_filter=AlwaysOffExemplarFilter(),  # durations are recorded some at a time, outside of their traces
    )
    try:
        server, thread = start_http_server(metrics_port, addr=address, registry=registry)
    except OSError as error:
        raise ConfigurationError(
            f"metrics port {metrics_port} of {service} cannot be listened on ({error.strerror}); "
            f"set VECSEC_{service.upper()}_METRICS_PORT to a free port"
        ) from error
    try:
        yield Telemetry(
            service=service,
            meter=meter_provider.get_meter("vecsec"),
            tracer=tracer_provider.get_tracer("vecsec"),
            tracer_provider=tracer_provider,
            is_tracing=otlp_endpoint is not None,
            metrics_port=server.server_port,
        )
    finally:
        _stop(server, thread)
        meter_provider.shutdown()
        tracer_provider.shutdown()


def _stop(server: WSGIServer, thread: Thread) -> None:
    """Such a server looks only twice a second whether it is to stop, unless somebody connects."""
    stopping = Thread(target=server.shutdown, name="stop the metrics server")
    stopping.start()
    with suppress(OSError):
        socket.create_connection(server.socket.getsockname()[:2], timeout=1).close()
    stopping.join()
    server.server_close()
    thread.join()
