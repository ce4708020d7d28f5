"""The unary methods of a server, wrapped by the same interceptors that serve them as calls of their own."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from vecsec_chassis.rpc.interception import Context, Handler, MaybeHandler, behaviour_of


@dataclass(frozen=True, slots=True)
class CarriedMethod:
    """One method: bytes in, bytes out."""

    behaviour: Callable[[Any, Context], Awaitable[Any]]
    deserialize: Callable[[bytes], Any] | None
    """None where the behaviour reads bytes."""
    serialize: Callable[[Any], bytes]

    async def __call__(self, request: bytes, context: Context) -> bytes:
        message = request if self.deserialize is None else self.deserialize(request)
        return self.serialize(await self.behaviour(message, context))


@dataclass(frozen=True, slots=True)
class _CallDetails(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...] = ()


class CarriedMethods:
    """Servicers are added to it as they are to a server; interceptors wrap each method once."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        """`interceptors`: of the server, outermost first."""
        self._interceptors = interceptors
        self._handlers: dict[str, Handler] = {}
        self._wrapped: dict[str, CarriedMethod] = {}

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The first half of what generated code calls; the second one says the same by name."""

    def add_registered_method_handlers(self, service_name: str, handlers: "dict[str, Handler]") -> None:
        """Add the unary methods of a service."""
        for name, handler in handlers.items():
            if handler.unary_unary is not None:
                self._handlers[f"/{service_name}/{name}"] = handler

    async def find(self, method: str) -> CarriedMethod | None:
        """The method with this full name; None if there is no such unary method here."""
        if method not in self._wrapped and method in self._handlers:
            self._wrapped[method] = await self._wrap(method)
        return self._wrapped.get(method)

    async def _wrap(self, method: str) -> CarriedMethod:
        async def innermost(_details: grpc.HandlerCallDetails) -> MaybeHandler:
            return self._handlers[method]

        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]] = innermost
        for interceptor in reversed(self._interceptors):
            continuation = _intercepted(interceptor, continuation)
        handler = await continuation(_CallDetails(method))
        assert handler is not None
        assert handler.response_serializer is not None
        return CarriedMethod(behaviour_of(handler), handler.request_deserializer, handler.response_serializer)


def _intercepted(
    interceptor: grpc.aio.ServerInterceptor,
    continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]],
) -> Callable[[grpc.HandlerCallDetails], Awaitable[MaybeHandler]]:
    async def intercept(details: grpc.HandlerCallDetails) -> MaybeHandler:
        return await interceptor.intercept_service(continuation, details)

    return intercept
