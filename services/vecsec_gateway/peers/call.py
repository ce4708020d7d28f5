"""What goes with every call to a peer: the deadline, the request id, and a span whose context travels along."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from vecsec_chassis.calls import current_request_id, current_span, is_traced
from vecsec_chassis.rpc.interceptors import REQUEST_ID_KEY

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Metadata = tuple[tuple[str, str], ...]


async def call_unary(
    method: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
    name: str,
    request: Request,
    *,
    seconds: float,
    tracer: Tracer,
    metadata: Metadata = (),
) -> Response:
    """Call a peer's method, which the span is named by; if this task is cancelled, so is the call. It may take so many
    seconds."""
    response: Response
    timeout = max(seconds, 0.0)
    if current_span() is None:  # to enter a context that does nothing costs as much as all else here
        response = await method(request, timeout=timeout, metadata=metadata + _outgoing())
        return response
    with traced(tracer, name) as outgoing:
        response = await method(request, timeout=timeout, metadata=metadata + outgoing)
        return response


@contextmanager
def traced(tracer: Tracer, name: str) -> Iterator[Metadata]:
    """A client span around a call; gives the metadata by which the peer continues the trace and the request.

    opentelemetry's own client interceptors never end the spans of calls that are cancelled. Where nothing is recorded
    there is no span to make: the context that came in is passed on.
    """
    if current_span() is None:
        yield _outgoing()
        return
    with tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes={"rpc.system": "grpc"},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield _outgoing()
        except grpc.aio.AioRpcError as error:
            span.set_attribute("rpc.grpc.status_code", error.code().value[0])
            span.set_status(Status(StatusCode.ERROR, error.code().name))
            raise


def _outgoing() -> Metadata:
    carrier: dict[str, str] = {}
    if is_traced():
        inject(carrier)
    return ((REQUEST_ID_KEY, current_request_id()), *carrier.items())
