"""Certificate, key and authorities of a service: read together, and taken only if they fit together."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from vecsec_chassis.domain.errors import ConfigurationError
from vecsec_chassis.file_watch import demand_content

CERTIFICATE_SETTING = "VECSEC_TLS_CERTIFICATE_FILE"
KEY_SETTING = "VECSEC_TLS_KEY_FILE"
AUTHORITY_SETTING = "VECSEC_TLS_CA_FILE"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the certificates of a service are."""

    certificate: Path
    """The service's own, leaf first, with the intermediate ones."""
    key: Path
    authority: Path
    """Whom to trust about other VecSec services."""
    client_authority: Path | None
    """Whom to trust about callers; None asks callers for no certificate."""
    client_authority_setting: str


@dataclass(frozen=True, slots=True)
class RawCertificates:
    """The files' content, good or bad: what a change is seen by."""

    chain: bytes
    key: bytes = field(repr=False)
    authority: bytes
    client_authority: bytes | None


@dataclass(frozen=True, slots=True)
class Certificates:
    """Content that fits together."""

    pem: RawCertificates
    expiry: Mapping[str, float]
    """When the first certificate of each file ceases to hold, in Unix time: `service`, `authority`, and
    `client_authority` where there is one."""


def read_files(files: CertificateFiles) -> RawCertificates:
    """The files as they are now.

    Raises:
        ConfigurationError: if one cannot be read.
    """
    client_authority = files.client_authority
    return RawCertificates(
        chain=_content(files.certificate, CERTIFICATE_SETTING),
        key=_content(files.key, KEY_SETTING),
        authority=_content(files.authority, AUTHORITY_SETTING),
        client_authority=None
        if client_authority is None
        else _content(client_authority, files.client_authority_setting),
    )


def checked(raw: RawCertificates, files: CertificateFiles) -> Certificates:
    """The content, if it can be used now.

    Raises:
        ConfigurationError: if a file is no (whole) PEM, key and certificate do not belong together, or the time is
            wrong.
    """
    chain = _certificates(raw.chain, files.certificate, CERTIFICATE_SETTING)
    _demand_valid_now(chain[0], files.certificate)
    _demand_key_of(chain[0], raw.key, files)
    expiry = {
        "service": _first_expiry(chain),
        "authority": _first_expiry(_certificates(raw.authority, files.authority, AUTHORITY_SETTING)),
    }
    if raw.client_authority is not None and files.client_authority is not None:
        name = files.client_authority_setting
        expiry["client_authority"] = _first_expiry(_certificates(raw.client_authority, files.client_authority, name))
    return Certificates(raw, expiry)


def _content(path: Path, setting: str) -> bytes:
    return demand_content(path, f"{setting}={str(path)!r}")


def _certificates(content: bytes, path: Path, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise ConfigurationError(
            f"{setting}={str(path)!r}: no certificates in PEM, or half of one; write the whole file again"
        ) from error


def _demand_valid_now(leaf: x509.Certificate, path: Path) -> None:
    now = time.time()
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not start.timestamp() <= now < end.timestamp():
        raise ConfigurationError(
            f"{CERTIFICATE_SETTING}={str(path)!r}: valid from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, "
            "not now; renew it, or set the clock right"
        )


def _demand_key_of(leaf: x509.Certificate, key: bytes, files: CertificateFiles) -> None:
    where = f"{KEY_SETTING}={str(files.key)!r}"
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{where}: no private key in PEM without a password, or half of one; write the whole file again"
        ) from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise ConfigurationError(
            f"{where}: not the key of the certificate in {files.certificate}; set both to files of one pair"
        )


def _first_expiry(certificates: list[x509.Certificate]) -> float:
    return min(certificate.not_valid_after_utc.timestamp() for certificate in certificates)
