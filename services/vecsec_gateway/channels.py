"""Channels to the peers: found by name, kept alive, quick to come back."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

_ANSWER_HEADROOM = 4
"""A thousand rows can be larger together than any one request may be."""


@asynccontextmanager
async def peer_channel(address: str, max_message_bytes: int) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a peer; nothing is connected until the first call."""
    options: list[tuple[str, int | str]] = [
        # All addresses of a (headless) name are used, not only the first.
        ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
        # A peer that vanished without a word is noticed within these times, also between calls.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # A peer that was restarted is found again soon.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Retries are ours to decide, by the kind of error and within the budget.
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", max_message_bytes * _ANSWER_HEADROOM),
    ]
    channel = grpc.aio.insecure_channel(address, options=options)
    try:
        yield channel
    finally:
        await channel.close()
