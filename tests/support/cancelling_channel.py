"""A channel for a moment that is hard to meet: a task is cancelled just as its stream fails."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc


class CancellingChannel:
    """The task that opens a stream is cancelled in the moment in which that stream fails, once so many were spared."""

    def __init__(self, channel: grpc.aio.Channel, *, spared: int = 0) -> None:
        self._channel = channel
        self._spared = spared
        self.cancelled: asyncio.Future[asyncio.Task[Any]] = asyncio.get_running_loop().create_future()
        """The task, once it was cancelled."""

    def as_channel(self) -> grpc.aio.Channel:
        """The same, to generated stubs."""
        return cast("grpc.aio.Channel", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """A method whose calls are made by the tasks that may be cancelled."""
        method = self._channel.stream_stream(*arguments, **options)

        def call(*call_arguments: Any, **call_options: Any) -> Any:
            stream, opener = method(*call_arguments, **call_options), asyncio.current_task()

            def cancel(_stream: object) -> None:
                self._spared -= 1
                if self._spared < 0 and not self.cancelled.done() and opener is not None and opener.cancel():
                    self.cancelled.set_result(opener)

            stream.add_done_callback(cancel)
            return stream

        return call
