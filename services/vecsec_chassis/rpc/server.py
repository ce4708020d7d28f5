"""The gRPC server of a service: interceptors, health, reflection, message sizes, and an end that loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import grpc
import structlog
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from vecsec.lane.v1 import lane_service_pb2_grpc
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.rpc.interceptors import chain
from vecsec_chassis.rpc.lane_server import LaneMethods, LaneServicer
from vecsec_chassis.rpc.listening import NO_SECOND_LISTENER, health_port, open_port
from vecsec_chassis.rpc.peer_interceptor import PeerInterceptor
from vecsec_chassis.rpc.reflected_contracts import reflected_contracts
from vecsec_chassis.settings import ListeningSettings
from vecsec_chassis.telemetry.telemetry import Telemetry
from vecsec_chassis.tls.watch import WatchedCertificates

log = structlog.get_logger()

LIVENESS = "vecsec.live"
"""Serving from the start to the end, whatever else does not: who restarts processes asks this one."""
_SHARE_FOR_STREAMS = 0.7
"""Of the grace time; the rest is for what they have sent by then."""
_LAST_CALLS_SECONDS = 60.0
"""So much longer than its connection may a lane go on, with calls that it carried already."""
_TRANSPORT_HEADROOM = 4
"""The transport takes messages somewhat larger than we serve, so that the sender gets an error that names the limit."""


class Health:
    """What the standard health service answers; everything is NOT_SERVING until told otherwise."""

    def __init__(self, service_name: str) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names = ("", service_name)

    async def set_serving(self, serving: bool, name: str | None = None) -> None:
        """Say whether the service serves or, with a name, whether that part of it does."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for each in self._names if name is None else (name,):
            await self.servicer.set(each, status)

    async def shut_down(self) -> None:
        """NOT_SERVING for good."""
        await self.servicer.enter_graceful_shutdown()


class MethodsByName:
    """Servicers are added to it as they are to a server, which then finds methods by name when they are called.

    Generated code registers each method as well. A server of grpc.aio waits for every registered method by itself, so
    that each call costs a little for all the methods that there are: 60 of the gateway's 600 calls of Python.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """The first half of what generated code calls."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service_name: str, handlers: object) -> None:
        """The second half, which says the same again."""


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers calls."""

    port: int
    metrics_port: int
    health: Health
    health_port: int | None = None
    """Where health is told without TLS; None for nowhere."""


@asynccontextmanager
async def running_server(
    *,
    service_name: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    settings: ListeningSettings,
    certificates: WatchedCertificates | None,
    telemetry: Telemetry,
    token_verifier: TokenVerifier | None,
    carries_calls: bool = False,
) -> AsyncIterator[RunningService]:
    """Serve until the block ends; then refuse new calls, let those in flight finish within the grace time, and stop.
    Streams that would go on for longer are ended between two of their messages, with a reason.

    `service_name` is the full name of the proto service. The caller sets the health once everything behind the
    handlers answers. `carries_calls` over lanes only where the callers are VecSec's own services: opening one takes no
    token, and what it brings is decoded before any is looked at.

    Raises:
        ConfigurationError: if a port cannot be listened on, or a peer is allowed to call what does not exist.
    """
    peers = _peer_interceptor(service_name, settings, certificates, telemetry)
    streams_end = asyncio.Event()
    interceptors = chain(
        telemetry,
        peers=peers,
        token_verifier=token_verifier,
        max_message_bytes=settings.max_message_bytes,
        streams_end=streams_end,
    )
    server = grpc.aio.server(interceptors=list(interceptors), options=_options(settings))
    health_of_service = Health(service_name)
    methods = cast("grpc.aio.Server", MethodsByName(server))
    add_servicer(methods)
    lanes = _lanes(add_servicer, interceptors, settings)
    if carries_calls:
        lane_service_pb2_grpc.add_LaneServiceServicer_to_server(lanes, methods)
    health_pb2_grpc.add_HealthServicer_to_server(health_of_service.servicer, methods)
    reflected = (service_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(reflected, server, reflected_contracts())
    port = open_port(server, settings, certificates)
    await health_of_service.set_serving(False)
    await health_of_service.set_serving(True, LIVENESS)
    async with health_port(settings, health_of_service.servicer) as port_of_health:
        await server.start()
        log.info(
            "listening",
            address=f"{settings.bind_address}:{port}",
            tls=certificates is not None,
            metrics_port=telemetry.metrics_port,
            health_port=port_of_health,
        )
        try:
            yield RunningService(port, telemetry.metrics_port, health_of_service, port_of_health)
        finally:
            await health_of_service.shut_down()
            lanes.close_lanes()
            log.info("draining", grace_seconds=settings.shutdown_grace_seconds)
            # What is then still sent would be cut off in the middle, without a word.
            seconds = settings.shutdown_grace_seconds * _SHARE_FOR_STREAMS
            ending = asyncio.get_running_loop().call_later(seconds, streams_end.set)
            await asyncio.shield(server.stop(settings.shutdown_grace_seconds))
            ending.cancel()
            log.info("stopped")


def _peer_interceptor(
    service_name: str, settings: ListeningSettings, certificates: WatchedCertificates | None, telemetry: Telemetry
) -> PeerInterceptor | None:
    if certificates is None or certificates.current.pem.client_authority is None:
        return None  # nobody shows a certificate
    methods = [method.name for method in descriptor_pool.Default().FindServiceByName(service_name).methods]
    unknown = settings.allowed_peers.unknown_methods(methods)
    if unknown:
        raise ConfigurationError(
            f"{settings.variable('allowed_peers')} allows {', '.join(unknown)}, which {service_name} has not; "
            f"it has {', '.join(methods)}, and health and reflection"
        )
    return PeerInterceptor(settings.allowed_peers, methods, telemetry.meter)


def _lanes(
    add_servicer: Callable[[grpc.aio.Server], None],
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    settings: ListeningSettings,
) -> LaneServicer:
    methods = LaneMethods(interceptors)
    add_servicer(cast("grpc.aio.Server", methods))
    return LaneServicer(methods, life_seconds=settings.max_connection_seconds + _LAST_CALLS_SECONDS)


def _options(settings: ListeningSettings) -> Sequence[tuple[str, int]]:
    return (
        NO_SECOND_LISTENER,
        ("grpc.max_receive_message_length", settings.max_message_bytes * _TRANSPORT_HEADROOM),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        # Clients are sent to look their peers up again, gently: calls in flight go on to their end, however long. So
        # new replicas get their share, and no connection outlives the certificate that it was made with by much.
        ("grpc.max_connection_age_ms", int(settings.max_connection_seconds * 1000)),
    )
