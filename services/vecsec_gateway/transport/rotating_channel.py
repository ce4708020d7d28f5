"""A channel to a peer that is made anew when the certificates change, without losing a call.

gRPC's own channels keep the certificates that they were made with. Stubs are made once and keep their channel, so what
they hold is this one; each call goes to the channel that is current when it starts.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import grpc
import structlog

from vecsec_chassis.background import BackgroundTasks
from vecsec_chassis.tls.certificates import Certificates
from vecsec_chassis.tls.watch import WatchedCertificates

log = structlog.get_logger()

_CONNECT_SECONDS = 5.0
"""How long the old channel goes on serving while the new one connects, so that no call waits for that."""
_DRAIN_SECONDS = 600.0
"""How long calls on the old channel may go on: imports are long."""
_LOOK_SECONDS = 0.5
"""How often it is looked whether they are over."""


class RotatingChannel:
    """Makes the four kinds of calls that stubs ask for, on the current channel. Used inside of one event loop."""

    def __init__(
        self, certificates: WatchedCertificates, make_channel: Callable[[Certificates], grpc.aio.Channel]
    ) -> None:
        self._certificates = certificates
        self._make_channel = make_channel
        self._made_with = certificates.current
        self._channel = make_channel(self._made_with)
        self._replacements = BackgroundTasks()
        self._connecting = asyncio.Lock()
        self._calls: dict[grpc.aio.Channel, set[grpc.aio.Call]] = {}
        """Those that are not over, by their channel."""

    def unary_unary(self, *arguments: Any, **keywords: Any) -> Callable[..., Any]:
        return self._method("unary_unary", arguments, keywords)

    def unary_stream(self, *arguments: Any, **keywords: Any) -> Callable[..., Any]:
        return self._method("unary_stream", arguments, keywords)

    def stream_unary(self, *arguments: Any, **keywords: Any) -> Callable[..., Any]:
        return self._method("stream_unary", arguments, keywords)

    def stream_stream(self, *arguments: Any, **keywords: Any) -> Callable[..., Any]:
        return self._method("stream_stream", arguments, keywords)

    def current(self) -> grpc.aio.Channel:
        """The channel that calls go to now; sees to its replacement when the certificates have changed."""
        certificates = self._certificates.current
        if certificates is not self._made_with:
            self._made_with = certificates
            self._replacements.begin(self._replace(certificates), "connect with new certificates")
        return self._channel

    def as_channel(self) -> grpc.aio.Channel:
        """The same, to stubs: they call nothing but the four methods."""
        return cast("grpc.aio.Channel", self)

    async def close(self) -> None:
        """Close the channels at once."""
        await self._replacements.close()
        await self._channel.close()

    def _method(self, kind: str, arguments: Any, keywords: Any) -> Callable[..., Any]:
        made: tuple[grpc.aio.Channel, Callable[..., Any]] | None = None

        def call(*call_arguments: Any, **call_keywords: Any) -> Any:
            nonlocal made
            channel = self.current()
            if made is None or made[0] is not channel:
                made = channel, getattr(channel, kind)(*arguments, **keywords)
            started = made[1](*call_arguments, **call_keywords)
            calls = self._calls.setdefault(channel, set())
            calls.add(started)
            started.add_done_callback(calls.discard)
            return started

        return call

    async def _replace(self, certificates: Certificates) -> None:
        async with self._connecting:  # one after the other, so that the newest certificates come last
            new = self._make_channel(certificates)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await new.channel_ready()
            except TimeoutError:
                log.warning("No connection with the new certificates yet")
            except asyncio.CancelledError:
                await new.close()
                raise
            old, self._channel = self._channel, new
        log.info("Calls go out with the new certificates")
        try:
            # Not `close(_DRAIN_SECONDS)`: if that is cancelled, grpc.aio (1.85) can never close the channel again.
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    while self._calls.get(old):  # noqa: ASYNC110 (seldom, and in no hurry)
                        await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._calls.pop(old, None)
            await old.close()
