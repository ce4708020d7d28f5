"""What every service begins with, from its settings: telemetry and certificates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vecsec_chassis.settings import ListeningSettings
from vecsec_chassis.telemetry.telemetry import Telemetry, running_telemetry
from vecsec_chassis.tls.watch import WatchedCertificates, running_certificates


@asynccontextmanager
async def running_common_parts(
    service: str, settings: ListeningSettings
) -> AsyncIterator[tuple[Telemetry, WatchedCertificates | None]]:
    """Serve metrics, export traces and watch the certificates until the block ends.

    Raises:
        ConfigurationError: if the metrics port cannot be listened on, or the certificates cannot be used.
    """
    with running_telemetry(
        service,
        address=settings.bind_address,
        metrics_port=settings.metrics_port,
        otlp_endpoint=settings.otlp_endpoint,
    ) as telemetry:
        async with running_certificates(settings.certificate_files(), telemetry.meter) as certificates:
            yield telemetry, certificates
