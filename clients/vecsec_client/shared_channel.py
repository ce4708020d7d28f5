"""The channel that a client shares with its views: whoever asks under another token asks over the same connection."""

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc

from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from vecsec_client.channels import Endpoint
from vecsec_client.errors import VecSecError

if TYPE_CHECKING:
    from vecsec.gateway.v1.gateway_service_pb2_grpc import GatewayServiceAsyncStub


def closed() -> VecSecError:
    """The error of a call through what was closed; trying again does not help."""
    return VecSecError(
        "the client, or the view of it, is closed; make another one", code=grpc.StatusCode.FAILED_PRECONDITION
    )


class SharedChannel:
    """For ordinary code: one channel for all threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        credentials = endpoint.credentials()
        self._channel = (
            grpc.insecure_channel(endpoint.address, options=endpoint.options())
            if credentials is None
            else grpc.secure_channel(endpoint.address, credentials, options=endpoint.options())
        )
        self._stub = GatewayServiceStub(self._channel)
        self._is_closed = False

    def stub(self) -> GatewayServiceStub:
        """What calls are made with.

        Raises:
            VecSecError: if it is closed.
        """
        if self._is_closed:
            raise closed()
        return self._stub

    def close(self) -> None:
        """Close it; calls in flight are cancelled."""
        self._is_closed = True
        self._channel.close()


class SharedAsyncChannels:
    """For asyncio: a channel for each event loop, since grpc.aio ties a channel to the loop that runs when it is made.

    It is made at the first call, so a client may be made before any loop runs and outlive the loop that used it.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._credentials = (
            endpoint.credentials()
        )  # now, so that files that cannot be read are told to whoever names them
        self._opened: dict[asyncio.AbstractEventLoop, tuple[grpc.aio.Channel, GatewayServiceAsyncStub]] = {}
        self._lock = threading.Lock()  # loops may run in several threads
        self._is_closed = False

    def stub(self) -> "GatewayServiceAsyncStub":
        """What calls of the running event loop are made with.

        Raises:
            VecSecError: if it is closed.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._is_closed:
                raise closed()
            if loop not in self._opened:
                self._forget_ended_loops()
                channel = self._open()
                self._opened[loop] = channel, GatewayServiceStub(channel)
            return self._opened[loop][1]

    async def close(self) -> None:
        """Close it; calls in flight end as if cancelled, with asyncio.CancelledError.

        Channels of other loops that still run are closed there, soon.
        """
        with self._lock:
            self._is_closed = True
            opened, self._opened = self._opened, {}
        for loop, (channel, _) in opened.items():
            if loop is asyncio.get_running_loop():
                await channel.close()
            elif not loop.is_closed():
                closing = channel.close()
                with suppress(RuntimeError):  # it ended in this very moment, and its channel with it
                    asyncio.run_coroutine_threadsafe(closing, loop)

    def _open(self) -> grpc.aio.Channel:
        address, options = self._endpoint.address, self._endpoint.options()
        if self._credentials is None:
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, self._credentials, options=options)

    def _forget_ended_loops(self) -> None:
        for loop in [each for each in self._opened if each.is_closed()]:
            del self._opened[loop]  # which closes the channel
