"""gRPC credentials made of the certificates in force."""

import grpc

from vecsec_chassis.tls.certificates import Certificates
from vecsec_chassis.tls.watch import WatchedCertificates


def server_credentials(certificates: WatchedCertificates) -> grpc.ServerCredentials:
    """Credentials of a server, whose every new connection is made with the certificates in force by then.

    Callers must show a certificate if there is an authority for callers.
    """
    given = certificates.current

    def changed() -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC before each handshake, from its own threads; None leaves it at what it has."""
        nonlocal given
        current = certificates.current
        if current is given:
            return None
        given = current
        return _configuration(current)

    asks_for_certificate = given.pem.client_authority is not None
    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        changed,  # type: ignore[arg-type]  # the stubs do not know that there may be no change
        asks_for_certificate,
    )


def channel_credentials(certificates: Certificates) -> grpc.ChannelCredentials:
    """Credentials of a channel to another service; it shows this service's own certificate."""
    pem = certificates.pem
    return grpc.ssl_channel_credentials(
        root_certificates=pem.authority, private_key=pem.key, certificate_chain=pem.chain
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pem = certificates.pem
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.chain)], root_certificates=pem.client_authority)
