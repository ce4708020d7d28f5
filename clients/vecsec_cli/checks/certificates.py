"""The services' certificates, as far as this machine has them."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from vecsec_cli.checks.finding import Finding, fail, ok, warn
from vecsec_cli.failures import CommandFailure
from vecsec_cli.service_channels import CERTIFICATE_SETTINGS, service_credentials

_CHECK = "certificates"
_DAY_SECONDS = 86_400
_SOON_DAYS = 14


def check_certificates(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the files are there, whole, of one pair, and valid for a while; nothing if no TLS is set."""
    try:
        if service_credentials(settings) is None:
            return
    except CommandFailure as failure:
        yield fail(_CHECK, failure.message, failure.hint or "")
        return
    certificate, key, authority = (Path(settings[name]) for name in CERTIFICATE_SETTINGS)
    yield _pair(certificate, key)
    yield _expiry(certificate, "renew it")
    yield _expiry(authority, "issue a new authority, and let both be trusted for a while")


def _pair(certificate: Path, key: Path) -> Finding:
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (ValueError, TypeError):
        return fail(_CHECK, f"{certificate} or {key} is no PEM, or half of one", "write the whole files again")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        return fail(_CHECK, f"{key} is not the key of {certificate}", "set both to files of one pair")
    return ok(_CHECK, f"{certificate} and its key")


def _expiry(path: Path, remedy: str) -> Finding:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError:
        return fail(_CHECK, f"{path} holds no certificates in PEM", "write the whole file again")
    end = min(each.not_valid_after_utc for each in certificates).timestamp()
    days = (end - time.time()) / _DAY_SECONDS
    until = f"{path} holds until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"
    if days <= 0:
        return fail(_CHECK, until, remedy)
    return warn(_CHECK, until, remedy) if days < _SOON_DAYS else ok(_CHECK, until)
