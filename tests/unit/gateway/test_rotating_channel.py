"""Channels are replaced when certificates change, and none is forgotten."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import grpc
import pytest
from support.installation import free_ports
from support.waiting import until

from vecsec_chassis.tls.certificates import Certificates
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_gateway.transport import rotating_channel
from vecsec_gateway.transport.rotating_channel import RotatingChannel


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
        await until(lambda: len(made) > 1)  # the first change is under way
    await until(lambda: len(made) == 4 and rotating.current() is made[-1][1])
    assert made[-1][0] is changing.current
    await rotating.close()
    assert {channel.get_state() for _, channel in made} == {grpc.ChannelConnectivity.SHUTDOWN}


async def carry_on(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server, by its port, that answers each message of a stream with itself."""
    server = grpc.aio.server()
    methods = {"Echo": grpc.stream_stream_rpc_method_handler(carry_on)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_a_replaced_channel_serves_its_streams_until_they_end_or_all_is_closed() -> None:
    changing = Changing(certificates())
    async with echoing() as port:
        rotating = RotatingChannel(
            cast("WatchedCertificates", changing), lambda _: grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        )
        for is_ended in (True, False):
            old = rotating.current()
            stream = rotating.stream_stream("/test.Test/Echo")()
            changing.current = certificates()
            await until(lambda old=old: rotating.current() is not old)
            await stream.write(b"still here")
            assert await stream.read() == b"still here"
            if is_ended:
                await stream.done_writing()
            else:
                await rotating.close()
            await until(lambda old=old: old.get_state() is grpc.ChannelConnectivity.SHUTDOWN)
            assert stream.done()


async def test_closing_ends_also_a_channel_that_has_not_yet_connected() -> None:
    nobody, made = f"127.0.0.1:{free_ports(1)[0]}", []

    def make(_given: Certificates) -> grpc.aio.Channel:
        made.append(grpc.aio.insecure_channel(nobody))
        return made[-1]

    changing = Changing(certificates())
    rotating = RotatingChannel(cast("WatchedCertificates", changing), make)
    changing.current = certificates()
    rotating.current()
    await until(lambda: len(made) == 2)
    await rotating.close()
    assert [channel.get_state() for channel in made] == [grpc.ChannelConnectivity.SHUTDOWN] * 2
