"""The ports of a service: its own, with TLS or without, and one for probes that speak no TLS."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.settings import ListeningSettings
from vecsec_chassis.tls.credentials import server_credentials
from vecsec_chassis.tls.watch import WatchedCertificates

log = structlog.get_logger()

NO_SECOND_LISTENER = ("grpc.so_reuseport", 0)
"""Without this a second process could listen on the same port and take half of the calls."""


def open_port(server: grpc.aio.Server, settings: ListeningSettings, certificates: WatchedCertificates | None) -> int:
    """Let a server listen on the service's port, without TLS if there are no certificates, and return the port.

    Raises:
        ConfigurationError: if the port cannot be listened on.
    """
    if certificates is None:
        _warn_if_exposed(settings.bind_address)
    credentials = None if certificates is None else server_credentials(certificates)
    return _open_port(server, settings.bind_address, settings.port, settings.variable("port"), credentials)


@asynccontextmanager
async def health_port(settings: ListeningSettings, servicer: health.aio.HealthServicer) -> AsyncIterator[int | None]:
    """Answer health checks without TLS until the block ends; the port, or None if none is set.

    Kubernetes' own gRPC probes speak no TLS. Whoever reaches this port learns whether the service serves: no more.

    Raises:
        ConfigurationError: if the port cannot be listened on.
    """
    if settings.health_port is None:
        yield None
        return
    server = grpc.aio.server(options=(NO_SECOND_LISTENER,))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = _open_port(server, settings.bind_address, settings.health_port, settings.variable("health_port"), None)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def _open_port(
    server: grpc.aio.Server, host: str, port: int, setting: str, credentials: grpc.ServerCredentials | None
) -> int:
    address = f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigurationError(f"cannot listen on {address}; set {setting} to a free port ({error})") from error


def _warn_if_exposed(address: str) -> None:
    if not _is_loopback(address):
        log.warning(
            "Serving without TLS on an address that others reach",
            address=address,
            remedy="set VECSEC_TLS_CERTIFICATE_FILE, VECSEC_TLS_KEY_FILE and VECSEC_TLS_CA_FILE",
        )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
