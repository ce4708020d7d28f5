"""An authority of a test's own, and the files that services read their certificates from."""

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

GATEWAY = "spiffe://vecsec/gateway"


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, in PEM."""

    key: bytes
    certificate: bytes


@dataclass
class Authority:
    """Signs certificates; whatever else they name, they name this machine too."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    def settings(self, service: str) -> dict[str, object]:
        """The TLS settings of a service, whose files are made anew."""
        self.renew(service)
        return {
            "VECSEC_TLS_CERTIFICATE_FILE": self.folder / service / "tls.crt",
            "VECSEC_TLS_KEY_FILE": self.folder / service / "tls.key",
            "VECSEC_TLS_CA_FILE": self.ca_file,
        }

    def renew(self, service: str, days: int = 90) -> None:
        """Another key and certificate in the place of a service's, file by file, as a careless renewal does it."""
        folder = self.folder / service
        folder.mkdir(parents=True, exist_ok=True)
        pair = self.issue(f"spiffe://vecsec/{service}", days)
        for path, content in (
            (self.ca_file, self.ca.cert_pem.bytes()),
            (folder / "tls.key", pair.key),
            (folder / "tls.crt", pair.certificate),
        ):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)

    def issue(self, identity: str, days: int = 90) -> Pair:
        """A key and a certificate for an identity, a URI or a DNS name; negative days are over already."""
        authority = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        authority_key = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
        name = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.DNSName(identity)
        this_machine = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=365))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([name, *this_machine]), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        return Pair(
            key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            certificate=certificate.public_bytes(Encoding.PEM),
        )

    def credentials(self, identity: str | None = GATEWAY) -> grpc.ChannelCredentials:
        """Credentials that trust this authority and show a certificate for an identity of it, or none."""
        roots = self.ca.cert_pem.bytes()
        if identity is None:
            return grpc.ssl_channel_credentials(roots)
        pair = self.issue(identity)
        return grpc.ssl_channel_credentials(roots, pair.key, pair.certificate)
