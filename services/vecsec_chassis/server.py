"""The gRPC server of a service: interceptors, health, reflection, message sizes, and an end that loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from vecsec_chassis.errors import StartupError
from vecsec_chassis.interceptors import chain
from vecsec_chassis.settings import ServiceSettings
from vecsec_chassis.telemetry import Telemetry
from vecsec_chassis.tokens import TokenVerifier

log = structlog.get_logger()

_TRANSPORT_HEADROOM = 4
"""The transport takes messages somewhat larger than we serve, so that the sender gets an error that names the limit."""


class Health:
    """What the standard health service answers; everything is NOT_SERVING until told otherwise."""

    def __init__(self, service_name: str) -> None:
        self._servicer = health.aio.HealthServicer()
        self._names = ("", service_name)

    @property
    def servicer(self) -> health.aio.HealthServicer:
        return self._servicer

    async def set_serving(self, serving: bool, name: str | None = None) -> None:
        """Say whether the service serves or, with a name, whether that part of it does."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for each in self._names if name is None else (name,):
            await self._servicer.set(each, status)

    async def shut_down(self) -> None:
        """NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers calls."""

    port: int
    metrics_port: int
    health: Health


@asynccontextmanager
async def running_server(
    *,
    service_name: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    port: int,
    port_setting: str,
    settings: ServiceSettings,
    telemetry: Telemetry,
    token_verifier: TokenVerifier | None,
) -> AsyncIterator[RunningService]:
    """Serve until the block ends; then refuse new calls, let those in flight finish within the grace time, and stop.

    `service_name` is the full name of the proto service, `port_setting` the variable that sets the port. The caller
    sets the health once everything behind the handlers answers.

    Raises:
        StartupError: if the port cannot be listened on.
    """
    server = grpc.aio.server(
        interceptors=list(
            chain(telemetry, token_verifier=token_verifier, max_message_bytes=settings.max_message_bytes)
        ),
        options=_options(settings.max_message_bytes),
    )
    health_of_service = Health(service_name)
    add_servicer(server)
    health_pb2_grpc.add_HealthServicer_to_server(health_of_service.servicer, server)
    reflection.enable_server_reflection((service_name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"{settings.bind_address}:{port}"
    try:
        bound_port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise StartupError(f"cannot listen on {address}; set {port_setting} to a free port ({error})") from error
    await health_of_service.set_serving(False)
    await server.start()
    log.info("listening", address=f"{settings.bind_address}:{bound_port}", metrics_port=telemetry.metrics_port)
    try:
        yield RunningService(port=bound_port, metrics_port=telemetry.metrics_port, health=health_of_service)
    finally:
        await health_of_service.shut_down()
        log.info("draining", grace_seconds=settings.shutdown_grace_seconds)
        await asyncio.shield(server.stop(settings.shutdown_grace_seconds))
        log.info("stopped")


def _options(max_message_bytes: int) -> Sequence[tuple[str, int]]:
    return (
        # Without this a second process could listen on the same port and take half of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", max_message_bytes * _TRANSPORT_HEADROOM),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    )
