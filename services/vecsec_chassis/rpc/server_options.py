"""What gRPC itself is told to hold a server's callers to, before any of them is known."""

from collections.abc import Sequence

from vecsec_chassis.rpc.listening import NO_SECOND_LISTENER
from vecsec_chassis.settings import ListeningSettings

BETWEEN_SERVICES_BYTES = 4 * 1024 * 1024 + 256 * 1024
"""The largest message between our own services: a lane's calls, or a document with its batch's grant. Who sends it need
not show a token before, so it is small: larger batches come in parts."""
_MOST_HEADROOM = 4
_HEADROOM_BYTES = 1024 * 1024
"""The transport takes messages somewhat larger than we serve, so that the sender gets an error that names the limit."""
_STREAMS_A_CONNECTION = 64
_STREAMS_BETWEEN_SERVICES = 256
"""Further calls wait in their client, where they cost nothing here. Each stream may have sent a window (64 KiB) before
it is looked at."""
_HANDSHAKE_MS = 10_000


def server_options(settings: ListeningSettings, *, between_services: bool) -> Sequence[tuple[str, int]]:
    """The options of a server; `between_services` where only our own services call."""
    return (
        NO_SECOND_LISTENER,
        # Looked at when the size of a message is known, before the rest of it is received; and while it is unpacked.
        ("grpc.max_receive_message_length", _transport_bytes(settings.max_message_bytes, between_services)),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", _STREAMS_BETWEEN_SERVICES if between_services else _STREAMS_A_CONNECTION),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
        # Else gRPC lets callers with a fast line send megabytes ahead, of calls that nobody has looked at yet.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        # Clients are sent to look their peers up again, gently: calls in flight go on to their end, however long. So
        # new replicas get their share, and no connection outlives the certificate that it was made with by much.
        ("grpc.max_connection_age_ms", int(settings.max_connection_seconds * 1000)),
    )


def _transport_bytes(max_message_bytes: int, between_services: bool) -> int:
    with_headroom = min(max_message_bytes * _MOST_HEADROOM, max_message_bytes + _HEADROOM_BYTES)
    return min(with_headroom, BETWEEN_SERVICES_BYTES) if between_services else with_headroom
