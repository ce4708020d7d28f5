"""How the command line talks to a service itself: with the services' own TLS settings, where these are set."""

from collections.abc import Mapping
from pathlib import Path

import grpc

from vecsec_cli.terminal.failures import CommandFailure

CERTIFICATE_SETTINGS = ("VECSEC_TLS_CERTIFICATE_FILE", "VECSEC_TLS_KEY_FILE", "VECSEC_TLS_CA_FILE")


def service_credentials(settings: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    """Credentials that show the services' certificate and trust their authority; None if no TLS is set.

    Raises:
        CommandFailure: if only some of the files are set, or one cannot be read.
    """
    files = {name: settings[name] for name in CERTIFICATE_SETTINGS if settings.get(name)}
    if not files:
        return None
    if len(files) < len(CERTIFICATE_SETTINGS):
        missing = ", ".join(name for name in CERTIFICATE_SETTINGS if name not in files)
        raise CommandFailure(f"{missing} not set", hint=f"TLS needs {', '.join(CERTIFICATE_SETTINGS)}, or none of them")
    certificate, key, authority = (_content(name, files[name]) for name in CERTIFICATE_SETTINGS)
    return grpc.ssl_channel_credentials(authority, key, certificate)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel to a service; no proxy stands between."""
    options = [("grpc.enable_http_proxy", 0)]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def root_certificates(settings: Mapping[str, str]) -> Path | None:
    """The authority of the services' certificates, if TLS is set."""
    return Path(settings["VECSEC_TLS_CA_FILE"]) if settings.get("VECSEC_TLS_CA_FILE") else None


def _content(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CommandFailure(f"{name}={path!r}: {error.strerror}", hint="name a file that you may read") from error
