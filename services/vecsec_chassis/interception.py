"""Wraps handlers of all four kinds alike, so that each interceptor says only what it does around a call."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

INFRASTRUCTURE_PREFIX = "/grpc."
"""Health, reflection and channelz: served without the interceptors that are about VecSec's own calls."""


class AroundInterceptor(grpc.aio.ServerInterceptor, ABC):
    """An interceptor that does something before and after each call of our own services."""

    @abstractmethod
    def around(self, method: str, context: Context) -> AbstractAsyncContextManager[None]:
        """What to do around a call; the block ends when the call does."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler that the next interceptor gives."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(INFRASTRUCTURE_PREFIX):
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: Handler, method: str) -> Handler:
        behaviour: Callable[[Any, Context], Any] | None = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        assert behaviour is not None, f"{method} has no behaviour"

        async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401 (any message)
            async with self.around(method, context):
                return await behaviour(request, context)

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
            async with self.around(method, context):
                async for response in behaviour(request, context):
                    yield response

        return rebuilt(handler, stream if handler.response_streaming else answer)


def rebuilt(
    handler: Handler,
    behaviour: Callable[[Any, Context], Any],
    *,
    request_deserializer: Callable[[bytes], Any] | None = None,
    keep_deserializer: bool = True,
) -> Handler:
    """A handler of the same kind with another behaviour (and, if asked for, another way to read requests)."""
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer if keep_deserializer else request_deserializer,
        response_serializer=handler.response_serializer,
    )
