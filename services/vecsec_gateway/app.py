"""The gateway put together: the only file that names the concrete parts."""

import time
from collections.abc import AsyncIterator, Set
from contextlib import AsyncExitStack, asynccontextmanager

from vecsec.gateway.v1.gateway_service_pb2 import DESCRIPTOR
from vecsec.gateway.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from vecsec_chassis.auth.tokens import TokenVerifier, load_trusted_issuers
from vecsec_chassis.flag.flag import RealRetrievalFlag, real_retrieval_flag
from vecsec_chassis.process.common_parts import running_common_parts
from vecsec_chassis.rpc.server import RunningService, running_server
from vecsec_chassis.telemetry.metrics import observe_caches
from vecsec_chassis.telemetry.telemetry import Telemetry
from vecsec_gateway.handlers import GatewayHandlers, UseCases
from vecsec_gateway.peers.circuit_breaker import CircuitBreakers
from vecsec_gateway.peers.health import POLICY_ENTRY, RETRIEVAL_ENTRY, PeerHealth
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.settings import GatewaySettings
from vecsec_gateway.transport.channels import peer_channel
from vecsec_gateway.transport.lane_channel import LaneChannel
from vecsec_gateway.use_cases.documents import DocumentAccess
from vecsec_gateway.use_cases.import_documents import ImportDocuments
from vecsec_gateway.use_cases.planning import PlanCache, Planning
from vecsec_gateway.use_cases.search_documents import SearchDocuments

SERVICE_NAME = DESCRIPTOR.services_by_name["GatewayService"].full_name


@asynccontextmanager
async def running_gateway(settings: GatewaySettings) -> AsyncIterator[RunningService]:
    """A gateway that answers calls until the block ends. Its peers need not be up: it says what it cannot do.

    Raises:
        ConfigurationError: naming the setting that keeps it from starting.
    """
    # What is acquired first is released last: calls in flight are drained while the peers can still be reached.
    async with AsyncExitStack() as stack:
        telemetry, certificates = await stack.enter_async_context(running_common_parts("gateway", settings))
        verifier = TokenVerifier(load_trusted_issuers(settings.issuers_file))
        flag = await stack.enter_async_context(
            real_retrieval_flag(settings.use_real_vector_retrieval, settings.flag_file, telemetry.meter)
        )
        policy, retrieval = [
            await stack.enter_async_context(
                peer_channel(
                    address,
                    max_message_bytes=settings.max_message_bytes,
                    lane_count=settings.peer_lanes,
                    certificates=certificates,
                )
            )
            for address in (settings.policy_address, settings.retrieval_address)
        ]
        plan_cache = PlanCache(time.monotonic, seconds=settings.plan_memory_seconds)
        silent_peers: set[str] = set()
        metrics = GatewayMetrics(telemetry.meter)
        use_cases = _use_cases(
            settings,
            telemetry,
            metrics,
            flag,
            plan_cache,
            policy=policy,
            retrieval=retrieval,
            silent_peers=silent_peers,
        )
        observe_caches(telemetry.meter, {"tokens": lambda: verifier.lookups, "plans": lambda: plan_cache.lookups})
        handlers = GatewayHandlers(use_cases, settings.default_deadline_seconds, metrics)
        service = await stack.enter_async_context(
            running_server(
                service_name=SERVICE_NAME,
                add_servicer=lambda server: add_GatewayServiceServicer_to_server(handlers, server),
                settings=settings,
                certificates=certificates,
                telemetry=telemetry,
                token_verifier=verifier,
            )
        )
        channels = {POLICY_ENTRY: policy.calls, RETRIEVAL_ENTRY: retrieval.calls}
        peer_health = PeerHealth(channels, service.health, settings.probe_seconds, silent_peers)
        await stack.enter_async_context(peer_health.running())
        await service.health.set_serving(True)
        yield service


def _use_cases(
    settings: GatewaySettings,
    telemetry: Telemetry,
    metrics: GatewayMetrics,
    flag: RealRetrievalFlag,
    plan_cache: PlanCache,
    *,
    policy: LaneChannel,
    retrieval: LaneChannel,
    silent_peers: Set[str],
) -> UseCases:
    circuits = CircuitBreakers(
        time.monotonic, threshold=settings.circuit_threshold, open_seconds=settings.circuit_open_seconds
    )
    metrics.watch_circuits(circuits)
    policy_client = PolicyClient(
        policy,
        telemetry.tracer,
        attempts=settings.attempts,
        timeout_seconds=settings.policy_timeout_seconds,
        metrics=metrics,
    )
    retrieval_client = RetrievalClient(
        retrieval,
        telemetry.tracer,
        circuits=circuits,
        attempts=settings.attempts,
        timeout_seconds=settings.retrieval_timeout_seconds,
        is_silent=lambda: RETRIEVAL_ENTRY in silent_peers,
        metrics=metrics,
    )
    planning = Planning(policy_client, plan_cache)
    return UseCases(
        search=SearchDocuments(planning, retrieval_client, flag, metrics),
        documents=DocumentAccess(planning, retrieval_client, flag),
        store=ImportDocuments(policy_client, retrieval_client),
        policy=policy_client,
    )
