"""How a client connects: encrypted, except to the machine it runs on."""

import ipaddress
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
    plaintext: bool | None = None
    """True: never encrypt, for networks that do so themselves. False: always encrypt. None: encrypt unless the
    gateway is on this machine, so that a token never crosses a network unprotected by accident."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS."""
        if self.plaintext is None:
            return self.root_certificates is not None or not is_loopback(self.address)
        return not self.plaintext

    def credentials(self) -> grpc.ChannelCredentials | None:
        """TLS credentials, or None for plaintext.

        Raises:
            ValueError: if root certificates are given for a connection that is not to be encrypted.
            OSError: if the root certificates cannot be read.
        """
        if not self.is_encrypted:
            if self.root_certificates is not None:
                raise ValueError("root certificates make no sense for a plaintext connection; give one or the other")
            return None
        roots = None if self.root_certificates is None else self.root_certificates.read_bytes()
        return grpc.ssl_channel_credentials(root_certificates=roots)

    def options(self) -> list[tuple[str, int | str]]:
        """Channel options for both clients."""
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
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
