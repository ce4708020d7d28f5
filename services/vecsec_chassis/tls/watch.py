"""Certificates that are taken anew when their files change, so that a renewal needs no restart."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import SettledChanges, keep_looking
from vecsec_chassis.tls.certificates import CertificateFiles, Certificates, RawCertificates, checked, read_files

log = structlog.get_logger()


class WatchedCertificates:
    """The certificates in force; what cannot be used leaves the last good ones in force. Ask from any thread."""

    def __init__(self, files: CertificateFiles, meter: Meter) -> None:
        """Read the files.

        Raises:
            ConfigurationError: if they cannot be used.
        """
        self._files = files
        self._watch = SettledChanges(lambda: _found(files))
        self._current = checked(read_files(files), files)
        self._failures = meter.create_counter(
            "vecsec_certificate_reload_failures",
            description="Changed certificate files that could not be used; the last good ones stay.",
        )
        self._failures.add(0)
        meter.create_observable_gauge(
            "vecsec_certificate_expiry",
            callbacks=[self._observe],
            unit="s",
            description="When certificates cease to hold, in Unix time: the service's own and its authorities'.",
        )

    @property
    def current(self) -> Certificates:
        """The certificates in force: another object after each change."""
        return self._current

    async def look(self) -> None:
        """Judge each state in which the files come to rest, and tell it once."""
        found = await self._watch.changed_content()
        if found is None:
            return
        problem = found if isinstance(found, str) else await asyncio.to_thread(self._take, found)
        if problem is None:
            until = datetime.fromtimestamp(self._current.expiry["service"], UTC)
            log.info("Certificates taken", valid_until=until.isoformat())
        else:
            self._failures.add(1)
            log.warning("Certificates cannot be used, the last good ones stay", reason=problem)

    def _take(self, raw: RawCertificates) -> str | None:
        """Put good certificates in force; say what is wrong with bad ones."""
        try:
            self._current = checked(raw, self._files)
        except ConfigurationError as bad:
            return str(bad)
        return None

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(when, {"certificate": name}) for name, when in self._current.expiry.items()]


def _found(files: CertificateFiles) -> RawCertificates | str:
    """What the files hold, or why they cannot be read."""
    try:
        return read_files(files)
    except ConfigurationError as bad:
        return str(bad)


def demand_usable_certificates(files: CertificateFiles | None) -> None:
    """Look at the files as `running_certificates` does at the start.

    Raises:
        ConfigurationError: if they cannot be used.
    """
    if files is not None:
        checked(read_files(files), files)


@asynccontextmanager
async def running_certificates(
    files: CertificateFiles | None, meter: Meter
) -> AsyncIterator[WatchedCertificates | None]:
    """The certificates, watched until the block ends; None if the service is not told to use TLS.

    Raises:
        ConfigurationError: if the files cannot be used.
    """
    if files is None:
        yield None
        return
    certificates = WatchedCertificates(files, meter)
    async with running_in_background(keep_looking(certificates.look), "watch the certificates"):
        yield certificates
