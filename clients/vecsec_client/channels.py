"""How a client connects: encrypted, except to the machine it runs on."""

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

import grpc

_MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""The gateway limits what it sends (1,000 documents); gRPC's own limit of 4 MiB would refuse large answers."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a gateway answers."""

    address: str
    """`host:port`, or `unix:path`."""
    root_certificates: Path | None = None
    """Certificates (PEM) to trust instead of the usual ones; with these the connection is encrypted in any case."""
    client_certificate: Path | None = None
    """A certificate (PEM) to show to a gateway that asks its callers for one."""
    client_key: Path | None = None
    """Its private key (PEM, without a password)."""
    plaintext: bool | None = None
    """True: never encrypt, for networks that do so themselves. False: always encrypt. None: encrypt unless the
    gateway is on this machine, so that a token never crosses a network unprotected by accident."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        if self.plaintext is None:
            return self._has_certificates or not is_loopback(self.address)
        return not self.plaintext

    def credentials(self) -> grpc.ChannelCredentials | None:
        """TLS credentials, or None for plaintext.

        Raises:
            ValueError: if certificates are given for a connection that is not to be encrypted, or a client certificate
                without its key.
            OSError: if a file cannot be read.
        """
        if not self.is_encrypted:
            if self._has_certificates:
                raise ValueError("certificates make no sense for a plaintext connection; give one or the other")
            return None
        if (self.client_certificate is None) is not (self.client_key is None):
            raise ValueError("a client certificate and its key go together; give both, or neither")
        return grpc.ssl_channel_credentials(
            root_certificates=_content(self.root_certificates),
            private_key=_content(self.client_key),
            certificate_chain=_content(self.client_certificate),
        )

    @property
    def _has_certificates(self) -> bool:
        return any((self.root_certificates, self.client_certificate, self.client_key))

    def options(self) -> list[tuple[str, int | str]]:
        """Channel options for both clients."""
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            # All addresses of a (headless) name are used, not only the first.
            ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
            # Calls are retried in one place, `retrying.py`, where the deadline and the service's advice are known.
            ("grpc.enable_retries", 0),
            # A gateway that comes back is found within a second; gRPC's own pace goes up to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # A peer that vanished without a word is noticed even while a long import waits for its answer.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.primary_user_agent", "vecsec-client-python"),
        ]
        if is_loopback(self.address):
            options.append(("grpc.enable_http_proxy", 0))  # a proxy's localhost is another machine
        return options


def _content(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def is_loopback(address: str) -> bool:
    """Whether an address certainly means this machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    target = address.removeprefix("dns:").lstrip("/")
    for scheme in ("ipv4:", "ipv6:"):
        target = target.removeprefix(scheme)
    host = target.rpartition(":")[0] if ":" in target else target
    host = host.removeprefix("[").removesuffix("]").lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
