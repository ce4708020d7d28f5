"""Wraps handlers of all four kinds alike, so that each interceptor says only what it does around a call."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
MaybeHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
Behaviour: TypeAlias = Callable[[Any, Context], Any]
"""A handler's function: a message or an iterator of messages in, an awaitable or an async iterator out."""

INFRASTRUCTURE_PREFIXES = ("/grpc.", "/vecsec.lane.")
"""Health, reflection and lanes: served without the interceptors that are about VecSec's own calls. What a lane carries
does pass through them, call by call."""


class HandlerMemory(grpc.aio.ServerInterceptor):
    """Remembers the wrapped handler of each method: without it, all interceptors would wrap anew for every call."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MaybeHandler:
        """The handler as wrapped by all interceptors after this one; methods that do not exist are not remembered."""
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is not None:
                self._handlers[method] = handler
        return handler


class AroundInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor that does something before and after each call of our own services."""

    async def before(self, method: str, context: Context) -> Any:
        """What to do before a call; what it returns is there again afterwards."""

    def succeeded(self, method: str, context: Context, note: Any) -> None:
        """What to do after a call that was answered; `note` is what `before` returned."""

    async def failed(self, method: str, context: Context, note: Any, error: BaseException) -> None:
        """What to do after a call that raised this; it is raised again, unless something else is raised here."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MaybeHandler:
        """Wrap the handler that the next interceptor gives."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(INFRASTRUCTURE_PREFIXES):
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: Handler, method: str) -> Handler:
        behaviour = behaviour_of(handler)
        has_before = type(self).before is not AroundInterceptor.before
        has_succeeded = type(self).succeeded is not AroundInterceptor.succeeded

        # Written out, for an asynchronous context manager made by a generator costs ten microseconds a call.
        async def answer(request: Any, context: Context) -> Any:
            note = await self.before(method, context) if has_before else None
            try:
                response = await behaviour(request, context)
            except BaseException as error:
                await self.failed(method, context, note, error)
                raise
            if has_succeeded:
                self.succeeded(method, context, note)
            return response

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            note = await self.before(method, context) if has_before else None
            try:
                async for response in behaviour(request, context):
                    yield response
            except BaseException as error:
                await self.failed(method, context, note, error)
                raise
            if has_succeeded:
                self.succeeded(method, context, note)

        return rebuilt(handler, stream if handler.response_streaming else answer)


def behaviour_of(handler: Handler) -> Behaviour:
    """The handler's function, whichever of the four kinds it is."""
    kinds: tuple[Any, ...] = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    behaviour: Behaviour = next(kind for kind in kinds if kind is not None)
    return behaviour


def rebuilt(handler: Handler, behaviour: Behaviour, *, reads_bytes: bool = False) -> Handler:
    """A handler of the same kind with another behaviour, which may take the requests as bytes and read them itself."""
    make: Callable[..., Handler] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    return make(
        behaviour,
        request_deserializer=None if reads_bytes else handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
