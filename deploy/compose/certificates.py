"""Certificates of this installation's own: an authority, and one for each service, in folders mounted one by one.

`make up` makes what is missing and renews what has less than a month left; running services take new files as they
are. Whoever has certificates of another authority puts them in the place of these and removes `authority.key`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from vecsec_cli.local import state_files

NAMES = {"gateway": "vecsec-agent", "policy": "policy", "retrieval": "retrieval"}
"""What services are called in the network, by what they are."""
_FURTHER_NAMES = {"retrieval": ["retrieval-1"]}
"""Of further shards."""
_AUTHORITY_LIFE, _SERVICE_LIFE, _RENEWAL = timedelta(days=3650), timedelta(days=365), timedelta(days=30)


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def ensure(folder: Path) -> None:
    """Make what is missing and renew what ends soon; without the authority's key nothing, for then it is another one's.

    Raises:
        OSError: if a file cannot be written.
    """
    key_file, certificate_file = folder / "authority.key", folder / "authority.crt"
    if not key_file.exists():
        if any((folder / service / "tls.crt").exists() for service in NAMES):
            return
        _write_authority(key_file, certificate_file)
    key = load_pem_private_key(key_file.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "we made it"
    authority = _Authority(key, x509.load_pem_x509_certificate(certificate_file.read_bytes()))
    for service, name in NAMES.items():
        names = [name, *_FURTHER_NAMES.get(service, [])]
        if not _holds_for_a_while(folder / service / "tls.crt", names):
            _write_pair(folder / service, service, names, authority)


def _holds_for_a_while(file: Path, names: list[str]) -> bool:
    if not file.exists():
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    has_all = set(names) <= set(named.get_values_for_type(x509.DNSName))
    return has_all and certificate.not_valid_after_utc - _RENEWAL > datetime.now(UTC)


def _write_authority(key_file: Path, certificate_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "VecSec of this machine")])
    certificate = (
        _builder(name, key.public_key(), _AUTHORITY_LIFE)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    state_files.replace(certificate_file, certificate.public_bytes(Encoding.PEM))
    state_files.replace(key_file, _pem(key), mode=0o600)


def _write_pair(folder: Path, service: str, names: list[str], authority: _Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    said: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"spiffe://vecsec/{service}"),
        *(x509.DNSName(name) for name in names),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("127.0.0.1")),
    ]
    certificate = (
        _builder(x509.Name([]), key.public_key(), _SERVICE_LIFE)
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.SubjectAlternativeName(said), critical=True)
        .sign(authority.key, SHA256())
    )
    state_files.replace(folder / "ca.crt", authority.certificate.public_bytes(Encoding.PEM))
    state_files.replace(folder / "tls.key", _pem(key))
    state_files.replace(folder / "tls.crt", certificate.public_bytes(Encoding.PEM))


def _builder(name: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + life)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
