"""Channels to the peers: found by name, kept alive, quick to come back, with TLS or without."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from vecsec_chassis.tls.credentials import channel_credentials
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_gateway.transport.lane_channel import LaneChannel
from vecsec_gateway.transport.rotating_channel import RotatingChannel

_ANSWER_HEADROOM = 4
"""A thousand rows can be larger together than any one request may be."""


@asynccontextmanager
async def peer_channel(
    address: str, *, max_message_bytes: int, lane_count: int, certificates: WatchedCertificates | None
) -> AsyncIterator[LaneChannel]:
    """A channel to a peer with so many lanes, encrypted if there are certificates. The peer need not be up."""
    options = _options(max_message_bytes)
    if certificates is None:
        channel = grpc.aio.insecure_channel(address, options=options)
        lanes = LaneChannel(channel)
    else:
        rotating = RotatingChannel(
            certificates,
            lambda current: grpc.aio.secure_channel(address, channel_credentials(current), options=options),
        )
        channel = rotating.as_channel()
        lanes = LaneChannel(channel, rotating.current)
    try:
        async with lanes.keeping_lanes(lane_count):
            yield lanes
    finally:
        await channel.close()


def _options(max_message_bytes: int) -> list[tuple[str, int | str]]:
    return [
        # All addresses of a (headless) name are used, not only the first, and looked up again soon when one is lost.
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
        # A peer that vanished without a word is noticed within these times, also between calls.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A peer that was restarted is found again at once: its callers wait for it.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 100),
        # gRPC would share connections with any other channel of this process to the address, also with one that was
        # closed but is not collected yet, and so its pause after a failure: calls then fail though the peer is there.
        ("grpc.use_local_subchannel_pool", 1),
        # Retries are ours to decide, by the kind of error and within the budget.
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", max_message_bytes * _ANSWER_HEADROOM),
    ]
