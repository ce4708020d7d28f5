"""The interceptors of a service, and their order."""

import asyncio
from collections.abc import Collection, Sequence

import grpc
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from vecsec_chassis.admission.refusal_pace import RefusalPace
from vecsec_chassis.auth.tokens import TokenVerifier
from vecsec_chassis.rpc.admission_gate import Gate
from vecsec_chassis.rpc.admission_interceptors import CallerAdmission, GrantAdmission, TenantOfGrant
from vecsec_chassis.rpc.interceptors import (
    AroundInterceptor,
    AuthenticationInterceptor,
    CallInterceptor,
    CountingInterceptor,
    ErrorInterceptor,
    HandlerCache,
    is_not_infrastructure,
)
from vecsec_chassis.rpc.open_methods import OpenMethodsInterceptor
from vecsec_chassis.rpc.request_interceptor import RequestInterceptor
from vecsec_chassis.telemetry.telemetry import Telemetry


def chain(
    telemetry: Telemetry,
    *,
    peers: AroundInterceptor | None,
    token_verifier: TokenVerifier | None,
    without_token: Collection[str] = (),
    mock_reasons: Collection[str] = (),
    gate: Gate,
    pace: RefusalPace | None,
    tenant_of_grant: TenantOfGrant | None,
    max_message_bytes: int,
    streams_end: asyncio.Event,
) -> Sequence[grpc.aio.ServerInterceptor]:
    """The interceptors of a service, outermost first. When `streams_end` is set, streams of requests end in good order.

    Without `peers` it does not matter which machine calls. Without a verifier calls are not authenticated here: the
    retrieval service acts on grants instead, of which `tenant_of_grant` says whose they are; so do the methods that are
    `without_token`, by their full names.
    """
    interceptors: list[grpc.aio.ServerInterceptor] = [
        # Outermost, for it spares all others their work.
        HandlerCache(),
    ]
    if telemetry.is_tracing:
        # The span comes before all else, so that everything below is inside it and has its trace id.
        interceptors.append(
            aio_server_interceptor(tracer_provider=telemetry.tracer_provider, filter_=is_not_infrastructure)  # type: ignore[no-untyped-call]
        )
    interceptors += [
        # The request id, which log lines and errors of all others carry.
        CallInterceptor(records_spans=telemetry.is_tracing),
        # Counting stands outside of the error mapping, so that it sees the status that the caller sees.
        CountingInterceptor(telemetry, mock_reasons),
        # Errors of everything below become a status here, once.
        ErrorInterceptor(),
    ]
    if peers is not None:
        # Which machine calls is settled before on whose behalf it does.
        interceptors.append(peers)
    if token_verifier is not None:
        # Who calls is settled before a byte of the request is received.
        interceptors.append(AuthenticationInterceptor(token_verifier, pace, without_token))
        # Who waits for a turn has sent nothing large yet, and is known.
        interceptors.append(CallerAdmission(gate, without_token))
    interceptors.append(OpenMethodsInterceptor())
    # Innermost: what is received, decoding and the contract's own rules.
    interceptors.append(RequestInterceptor(max_message_bytes, streams_end, tenant_of_grant))
    if tenant_of_grant is not None:
        # Grants are part of the requests.
        interceptors.append(GrantAdmission(gate, tenant_of_grant))
    return interceptors
