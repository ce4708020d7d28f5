"""The gRPC server of a service: interceptors, health, reflection, message sizes, and an end that loses nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import grpc
import structlog
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from vecsec.lane.v1 import lane_service_pb2_grpc
from vecsec_chassis.admission.refusal_pace import RefusalPace
from vecsec_chassis.admission.shares import ShareOf, equal_shares
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.rpc.admission_gate import LOWEST_LIMIT, LOWEST_LIMIT_BETWEEN_SERVICES, Gate
from vecsec_chassis.rpc.admission_interceptors import TenantOfGrant
from vecsec_chassis.rpc.interceptor_chain import chain
from vecsec_chassis.rpc.lane_server import LaneMethods, LaneServicer
from vecsec_chassis.rpc.listening import health_port, open_port
from vecsec_chassis.rpc.peer_interceptor import PeerInterceptor
from vecsec_chassis.rpc.reflected_contracts import reflected_contracts
from vecsec_chassis.rpc.server_options import server_options
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
    offer_lanes: Callable[[bool], None] = lambda _offered: None
    """Whether callers' lanes are wanted, or had better go to other replicas."""


@asynccontextmanager
async def running_server(
    *,
    service_name: str,
    add_servicer: Callable[[grpc.aio.Server], None],
    settings: ListeningSettings,
    certificates: WatchedCertificates | None,
    telemetry: Telemetry,
    token_verifier: TokenVerifier | None,
    without_token: Collection[str] = (),
    mock_reasons: Collection[str] = (),
    tenant_of_grant: TenantOfGrant | None = None,
    share_of: ShareOf = equal_shares,
    carries_calls: bool = False,
) -> AsyncIterator[RunningService]:
    """Serve until the block ends; then refuse new calls, let those in flight finish within the grace time, and stop.
    Streams that would go on for longer are ended between two of their messages, with a reason.

    `service_name` is the full name of the proto service. The caller sets the health once everything behind the
    handlers answers. The methods `without_token`, by their short names, take grants instead. `carries_calls` over lanes
    only where the callers are VecSec's own services: opening one takes no token, and what it brings is decoded before
    any is looked at. `share_of` says what a tenant may have of the service, `mock_reasons` for what it makes rows up.

    Raises:
        ConfigurationError: if a port cannot be listened on, or a peer is allowed to call what does not exist.
    """
    peers = _peer_interceptor(service_name, settings, certificates, telemetry, hears_of_callers=carries_calls)
    streams_end = asyncio.Event()
    # Our own services are not kept waiting: a call of somebody else's hangs on each of theirs.
    pace = None if carries_calls else RefusalPace(time.monotonic)
    interceptors = chain(
        telemetry,
        peers=peers,
        token_verifier=token_verifier,
        without_token=[f"/{service_name}/{method}" for method in without_token],
        mock_reasons=mock_reasons,
        gate=Gate(
            telemetry.meter,
            share_of,
            pace,
            lowest_limit=LOWEST_LIMIT_BETWEEN_SERVICES if carries_calls else LOWEST_LIMIT,
        ),
        pace=pace,
        tenant_of_grant=tenant_of_grant,
        max_message_bytes=settings.max_message_bytes,
        streams_end=streams_end,
    )
    server = grpc.aio.server(
        interceptors=list(interceptors), options=server_options(settings, between_services=carries_calls)
    )
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
            offer = lambda offered: lanes.offer_lanes(offered=offered)  # noqa: E731 (three words)
            yield RunningService(port, telemetry.metrics_port, health_of_service, port_of_health, offer)
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
    service_name: str,
    settings: ListeningSettings,
    certificates: WatchedCertificates | None,
    telemetry: Telemetry,
    *,
    hears_of_callers: bool,
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
    return PeerInterceptor(settings.allowed_peers, methods, telemetry.meter, hears_of_callers=hears_of_callers)


def _lanes(
    add_servicer: Callable[[grpc.aio.Server], None],
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    settings: ListeningSettings,
) -> LaneServicer:
    methods = LaneMethods(interceptors)
    add_servicer(cast("grpc.aio.Server", methods))
    return LaneServicer(methods, life_seconds=settings.max_connection_seconds + _LAST_CALLS_SECONDS)
