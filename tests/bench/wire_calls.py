"""Searches as bytes, ready to be sent by a load generator that knows neither VecSec nor ChromaDB."""

from collections.abc import Mapping
from dataclasses import dataclass

GRPC_PREFIX_BYTES = 5
"""Of a message on the wire: whether it is compressed, and its length."""


@dataclass(frozen=True)
class HttpCall:
    """A POST by HTTP/1.1."""

    uri: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class GrpcCall:
    """A unary call: the serialized request and its metadata."""

    address: str
    method: str
    metadata: Mapping[str, str]
    request: bytes

    def as_http(self) -> HttpCall:
        """The same as an HTTP/2 POST, with the message framed."""
        headers = {"content-type": "application/grpc", "te": "trailers", **self.metadata}
        framed = b"\0" + len(self.request).to_bytes(GRPC_PREFIX_BYTES - 1, "big") + self.request
        return HttpCall(f"http://{self.address}{self.method}", headers, framed)
