"""Channels are replaced when certificates change, and none is forgotten."""

import asyncio
from dataclasses import dataclass
from typing import cast

import grpc
import pytest
from support.installation import free_ports

from vecsec_chassis.certificate_watch import WatchedCertificates
from vecsec_chassis.certificates import Certificates
from vecsec_gateway import rotating_channel
from vecsec_gateway.rotating_channel import RotatingChannel


@dataclass
class Changing:
    """Certificates that a test changes."""

    current: Certificates


def certificates() -> Certificates:
    return cast("Certificates", object())  # only which ones they are matters here


async def test_changes_in_quick_succession_leave_the_newest_channel_and_close_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotating_channel, "_CONNECT_SECONDS", 0.2)
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    made: list[tuple[Certificates, grpc.aio.Channel]] = []

    def make(given: Certificates) -> grpc.aio.Channel:
        made.append((given, grpc.aio.insecure_channel(nobody)))
        return made[-1][1]

    changing = Changing(certificates())
    rotating = RotatingChannel(cast("WatchedCertificates", changing), make)
    for _ in range(3):
        changing.current = certificates()
        rotating.current()
        await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        while rotating.current() is not made[-1][1] or len(made) < 4:
            await asyncio.sleep(0.01)
    assert made[-1][0] is changing.current
    await rotating.close()
    assert {channel.get_state() for _, channel in made} == {grpc.ChannelConnectivity.SHUTDOWN}
