"""Lets callers in by turns of their tenants, each call when it is known whose it is."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, TypeAlias

import grpc

from vecsec_chassis.calls import current_call, current_identity, stood_aside
from vecsec_chassis.domain.errors import Overloaded, TenantLimit
from vecsec_chassis.rpc.admission_gate import Gate, PlaceAtGate
from vecsec_chassis.rpc.interceptors import (
    INFRASTRUCTURE_PREFIXES,
    CallDetails,
    Context,
    Continuation,
    Handler,
    MaybeHandler,
    behaviour_of,
    rebuilt,
)

TenantOfGrant: TypeAlias = Callable[[str], Awaitable[str | None]]
"""Whose grant it is; None if it does not verify, which the call itself will say."""
_OUR_OWN = ""
"""Stands for VecSec's own services where they ask for themselves: one tenant among others."""


class CallerAdmission(grpc.aio.ServerInterceptor):
    """Lets verified callers in, by their token's tenant, before their request is received."""

    def __init__(self, gate: Gate, without_token: Collection[str]) -> None:
        self._gate = gate
        self._without_token = frozenset(without_token)

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """Wrap the handlers of our own methods."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(INFRASTRUCTURE_PREFIXES):
            return handler
        gate, behaviour = self._gate, behaviour_of(handler)
        is_of_ours = method in self._without_token

        async def answer(request: Any, context: Context) -> Any:
            tenant_id = _OUR_OWN if is_of_ours else current_identity().tenant_id
            await gate.refuse_who_does_not_read(tenant_id)
            ticket = await gate.come_in(method, tenant_id)
            current_call().place = PlaceAtGate(gate, ticket)
            try:
                response = await gate.serve(behaviour, request, context, ticket)
            except (Overloaded, TenantLimit):
                if ticket.is_refused:
                    await gate.hold_back(tenant_id)
                raise
            if hasattr(context, "add_done_callback"):  # a lane bounds by itself what its client does not read
                try:
                    await gate.keep_until_sent(tenant_id, response.ByteSize(), context)
                except (Overloaded, TenantLimit):
                    response = None  # the error's traceback would keep it
                    await gate.hold_back(tenant_id)
                    raise
            return response

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            tenant_id = current_identity().tenant_id
            await gate.begin_stream(tenant_id)
            try:
                async for response in behaviour(request, context):
                    yield response
            finally:
                gate.admission.leave_stream(tenant_id)

        return rebuilt(handler, stream if handler.response_streaming else answer)


class GrantAdmission(grpc.aio.ServerInterceptor):
    """Lets calls in by the tenant of the grant that their request brings; streams have theirs looked at as they go."""

    def __init__(self, gate: Gate, tenant_of: TenantOfGrant) -> None:
        self._gate = gate
        self._tenant_of = tenant_of

    async def intercept_service(self, continuation: Continuation, handler_call_details: CallDetails) -> MaybeHandler:
        """Wrap the handlers of our own unary methods."""
        handler: Handler | None = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or handler.response_streaming or method.startswith(INFRASTRUCTURE_PREFIXES):
            return handler
        gate, behaviour = self._gate, behaviour_of(handler)

        async def as_dear_one(request: Any, context: Context) -> Any:
            async with stood_aside(is_dear=True):
                """It was read before it came in, and goes on among the dear ones."""
            return await behaviour(request, context)

        async def answer(request: Any, context: Context) -> Any:
            # What our own services ask each other takes no grant.
            tenant_id = await self._tenant_of(request.grant) if hasattr(request, "grant") else _OUR_OWN
            if tenant_id is None:
                return await behaviour(request, context)
            ticket = await gate.come_in(method, tenant_id)
            call = current_call()
            call.place = PlaceAtGate(gate, ticket)
            return await gate.serve(as_dear_one if call.has_large_request else behaviour, request, context, ticket)

        return rebuilt(handler, answer)
