"""The gateway put together: the only file that names the concrete parts."""

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from vecsec.gateway.v1.gateway_service_pb2 import DESCRIPTOR
from vecsec.gateway.v1.gateway_service_pb2_grpc import add_GatewayServiceServicer_to_server
from vecsec_chassis.auth.watched_issuers import ISSUERS, WatchedIssuers
from vecsec_chassis.background import running_in_background
from vecsec_chassis.domain.tenant_limits import TenantLimits
from vecsec_chassis.flag.flag import RealRetrievalFlag, real_retrieval_flag
from vecsec_chassis.placement.placement import Placement
from vecsec_chassis.placement.watched_placement import WatchedPlacement, observe_placement
from vecsec_chassis.process.common_parts import running_common_parts
from vecsec_chassis.rpc.server import RunningService, running_server
from vecsec_chassis.telemetry.metrics import observe_caches
from vecsec_chassis.telemetry.telemetry import Telemetry
from vecsec_chassis.tls.watch import WatchedCertificates
from vecsec_gateway.handlers import GatewayHandlers, UseCases
from vecsec_gateway.limits.gatekeeper import Gatekeeper
from vecsec_gateway.limits.known_limits import KnownLimits
from vecsec_gateway.limits.report import report_each_minute
from vecsec_gateway.limits.tenant_shares import TenantShares
from vecsec_gateway.peers.call import Deadline
from vecsec_gateway.peers.contract import CallContext, MockReason
from vecsec_gateway.peers.health import POLICY_ENTRY, RETRIEVAL_ENTRY, PeerHealth
from vecsec_gateway.peers.metrics import GatewayMetrics
from vecsec_gateway.peers.own_delay import OwnDelay
from vecsec_gateway.peers.policy import PolicyClient
from vecsec_gateway.peers.retrieval import RetrievalClient
from vecsec_gateway.peers.shard_peer import PeerSettings
from vecsec_gateway.peers.shards import Shards, single
from vecsec_gateway.settings import DefaultFallback, GatewaySettings
from vecsec_gateway.transport.channels import peer_channel
from vecsec_gateway.transport.lane_channel import LaneChannel
from vecsec_gateway.use_cases.documents import DocumentAccess
from vecsec_gateway.use_cases.import_documents import ImportDocuments
from vecsec_gateway.use_cases.planning import PlanCache, Planning
from vecsec_gateway.use_cases.relabel_documents import RelabelDocuments
from vecsec_gateway.use_cases.search_documents import SearchDocuments
from vecsec_gateway.use_cases.tenant_usage import UsageReader

_LIMITS_SECONDS = 5.0
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
        issuers = WatchedIssuers(settings.issuers_file, telemetry.meter)
        verifier = issuers.verifier
        flag = await stack.enter_async_context(
            real_retrieval_flag(settings.use_real_vector_retrieval, settings.flag_file, telemetry.meter)
        )
        to_policy = partial(
            peer_channel,
            settings.policy_address,
            max_message_bytes=settings.max_message_bytes,
            certificates=certificates,
        )
        policy = await stack.enter_async_context(to_policy(lane_count=settings.peer_lanes))
        # Of its own, so that a queue of ours for the other's streams does not look like silence.
        policy_watching = await stack.enter_async_context(to_policy(lane_count=0))
        own_delay = OwnDelay()
        await stack.enter_async_context(running_in_background(own_delay.run(), "watch the gateway's own delay"))
        shards = Shards(await _placement(settings, telemetry, stack), _peer_settings(settings, certificates, own_delay))
        await stack.enter_async_context(shards.running())
        plan_cache = PlanCache(time.monotonic, seconds=settings.plan_memory_seconds)
        metrics = GatewayMetrics(telemetry.meter)
        metrics.watch_shards(shards)
        shares = TenantShares(time.monotonic, replicas=settings.replicas, on_refusal=metrics.refused_for_limit)
        use_cases = _use_cases(
            settings,
            telemetry,
            metrics,
            flag,
            plan_cache,
            shares=shares,
            policy=policy,
            shards=shards,
            own_delay=own_delay,
        )
        observe_caches(telemetry.meter, {"tokens": lambda: verifier.lookups, "plans": lambda: plan_cache.lookups})
        limits = await stack.enter_async_context(
            contextlib.aclosing(KnownLimits(partial(_limits_of, use_cases.policy), time.monotonic))
        )
        handlers = GatewayHandlers(
            use_cases,
            metrics,
            Gatekeeper(shares, limits),
            default_deadline_seconds=settings.default_deadline_seconds,
            mock_by_default=settings.default_fallback is DefaultFallback.MOCK,
        )
        service = await stack.enter_async_context(
            running_server(
                service_name=SERVICE_NAME,
                add_servicer=lambda server: add_GatewayServiceServicer_to_server(handlers, server),
                settings=settings,
                certificates=certificates,
                telemetry=telemetry,
                token_verifier=verifier,
                mock_reasons=[each.value for each in MockReason],
            )
        )
        policy_health = PeerHealth(POLICY_ENTRY, policy_watching.calls, settings.probe_seconds, own_delay)

        async def show_policy() -> None:
            await service.health.set_serving(policy_health.is_serving, POLICY_ENTRY)

        async def show_retrieval() -> None:
            await service.health.set_serving(shards.are_serving, RETRIEVAL_ENTRY)

        shards.shown_by(show_retrieval)
        for show in (show_policy, show_retrieval):
            await show()  # the entries are there from the start
        await stack.enter_async_context(policy_health.watched(show_policy))
        await stack.enter_async_context(issuers.watching(partial(service.health.set_serving, name=ISSUERS)))
        reporting = report_each_minute(shares, metrics, settings.replicas)
        await stack.enter_async_context(running_in_background(reporting, "tell of tenants near their limits"))
        await service.health.set_serving(True)
        yield service


async def _placement(
    settings: GatewaySettings, telemetry: Telemetry, stack: AsyncExitStack
) -> WatchedPlacement | Placement:
    """Which shards there are; without a file one service has all tenants."""
    if settings.placement_file is None:
        observe_placement(telemetry.meter, epoch=lambda: 0, is_refused=lambda: False)
        return single(settings.retrieval_address)
    placement = WatchedPlacement(settings.placement_file, telemetry.meter)
    await stack.enter_async_context(placement.watching())
    return placement


def _peer_settings(
    settings: GatewaySettings, certificates: WatchedCertificates | None, own_delay: OwnDelay
) -> PeerSettings:
    return PeerSettings(
        max_message_bytes=settings.max_message_bytes,
        lane_count=settings.peer_lanes,
        certificates=certificates,
        circuit_threshold=settings.circuit_threshold,
        circuit_open_seconds=settings.circuit_open_seconds,
        probe_seconds=settings.probe_seconds,
        own_delay=own_delay,
    )


async def _limits_of(policy: PolicyClient, token: str, tenant_id: str) -> TenantLimits:
    return await policy.limits(CallContext(token, Deadline.after(_LIMITS_SECONDS)), tenant_id)


def _use_cases(
    settings: GatewaySettings,
    telemetry: Telemetry,
    metrics: GatewayMetrics,
    flag: RealRetrievalFlag,
    plan_cache: PlanCache,
    *,
    shares: TenantShares,
    policy: LaneChannel,
    shards: Shards,
    own_delay: OwnDelay,
) -> UseCases:
    policy_client = PolicyClient(
        policy,
        telemetry.tracer,
        attempts=settings.attempts,
        timeout_seconds=settings.policy_timeout_seconds,
        metrics=metrics,
        own_delay=own_delay,
    )
    retrieval_client = RetrievalClient(
        shards,
        telemetry.tracer,
        attempts=settings.attempts,
        timeout_seconds=settings.retrieval_timeout_seconds,
        own_delay=own_delay,
        metrics=metrics,
    )
    planning = Planning(policy_client, plan_cache)
    return UseCases(
        search=SearchDocuments(planning, retrieval_client, flag, metrics),
        documents=DocumentAccess(planning, retrieval_client, flag),
        relabel=RelabelDocuments(planning, retrieval_client, policy_client, flag),
        store=ImportDocuments(policy_client, retrieval_client),
        policy=policy_client,
        usage=UsageReader(planning, policy_client, retrieval_client, shares),
    )
