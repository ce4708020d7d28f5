"""What every service begins with, from its settings: telemetry, certificates, and how it listens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vecsec_chassis.rpc.listening import Listening
from vecsec_chassis.settings import ListeningSettings
from vecsec_chassis.telemetry.telemetry import Telemetry, running_telemetry
from vecsec_chassis.tls.watch import running_certificates


@asynccontextmanager
async def running_common_parts(service: str, settings: ListeningSettings) -> AsyncIterator[tuple[Telemetry, Listening]]:
    """Serve metrics, export traces and watch the certificates until the block ends.

    Raises:
        StartupError: if the metrics port cannot be listened on, or the certificates cannot be used.
    """
    with running_telemetry(
        service,
        address=settings.bind_address,
        metrics_port=settings.metrics_port,
        otlp_endpoint=settings.otlp_endpoint,
    ) as telemetry:
        async with running_certificates(settings.certificate_files(), telemetry.meter) as certificates:
            listening = Listening(
                address=settings.bind_address,
                port=settings.port,
                port_setting=settings.variable("port"),
                certificates=certificates,
                allowed_peers=settings.allowed_peers,
                allowed_peers_setting=settings.variable("allowed_peers"),
                health_port=settings.health_port,
                health_port_setting=settings.variable("health_port"),
            )
            yield telemetry, listening
